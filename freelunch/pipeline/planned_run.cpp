#include "freelunch/pipeline/planned_run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "freelunch/model/layout.h"
#include "freelunch/pipeline/run_setup.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/structure/shape_search.h"

namespace freelunch::pipeline {

namespace {

/// Weights that a token reads: all of the blocks, except experts that it is not routed to, and the head.
struct ReadWeights {
  double blocks = 0;
  double head = 0;
};

ReadWeights read_weights(const model::Config& config) {
  ReadWeights read{.head = static_cast<double>(config.vocabulary * config.embedding_width)};
  for (int64_t b = 0; b < config.blocks; ++b) {
    for (const model::WeightRole role : model::block_roles(config, b)) {
      if (role.expert >= config.experts.chosen) continue;
      read.blocks += static_cast<double>(c10::multiply_integers(model::shape_of(config, b, role)));
    }
  }
  return read;
}

/// Of each shape what an engine gains: memory-bound decoding by the weights that a token reads, compute-bound
/// prompts by the operations of the blocks.
nlohmann::json shapes_json(const CompressPlan& plan, const model::LanguageModel& model) {
  nlohmann::json shapes = nlohmann::json::array();
  const ReadWeights dense = read_weights(model.config());
  for (const model::Config& config : smaller_shapes(plan, model)) {
    const ReadWeights read = read_weights(config);
    shapes.push_back({{"change", model::shape_change(model.config(), config)},
                      {"dense_parameters", model.parameters()},
                      {"parameters", structure::parameters_of(config)},
                      {"decode_ratio", (dense.blocks + dense.head) / (read.blocks + read.head)},
                      {"prompt_ratio", dense.blocks / read.blocks}});
  }
  return shapes;
}

}  // namespace

nlohmann::json planned_run(const CompressPlan& plan, Sinks sinks) {
  using nlohmann::json;
  check_plan(plan);
  const backend::Compute compute = resolve(plan.compute);
  const RunInputs inputs = open_inputs(plan, compute, sinks);
  checked_patterns(plan, *inputs.opened.model);
  const ResolvedPlan resolved = resolve_run(plan, inputs, compute, sinks);
  json repair = json::array();
  for (const Stage& stage : resolved.stages) repair.push_back(to_string(stage));
  json object = to_json(resolved.budget);
  object["model"] = inputs.opened.model->path().filename().string();
  object["repair"] = repair;
  if (plan.structure.asks()) object["shapes"] = shapes_json(plan, *inputs.opened.model);
  object["activations"] = name(resolved.plan.memory.activations);
  object["activation_dtype"] = backend::dtype_name(resolved.plan.memory.activation_dtype.value());
  object["changes"] = resolved.changes;
  object["compute"] = backend::dtype_name(compute.dtype);
  object["threads"] = at::get_num_threads();
  if (plan.memory.limit) object["memory_limit"] = *plan.memory.limit;
  return object;
}

}  // namespace freelunch::pipeline
