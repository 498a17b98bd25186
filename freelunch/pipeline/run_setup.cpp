#include "freelunch/pipeline/run_setup.h"

#include <ATen/ATen.h>

#include <map>

#include "freelunch/backend/backend.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/model/layout.h"
#include "freelunch/pipeline/run_budget.h"
#include "freelunch/pipeline/same_model.h"
#include "freelunch/pipeline/seam.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/structure/shape_search.h"

namespace freelunch::pipeline {
namespace {

/// The matrices that are pruned, in the shape that the plan asks for, by name.
std::map<std::string, std::vector<int64_t>> matrix_shapes(const model::LanguageModel& model,
                                                          const model::Config& config) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const model::ModelTensor& tensor : model.tensors()) {
    if (!tensor.role || !model::is_prunable(*tensor.role) || tensor.role->expert >= config.experts.count)
      continue;
    shapes[tensor.name] = model::shape_of(config, tensor.block, *tensor.role);
  }
  return shapes;
}

}  // namespace

void check_plan(const CompressPlan& plan) {
  require_models(plan);
  validate(plan);
  check_repair(plan);
}

at::Tensor calibration_windows(const CompressPlan& plan, const OpenedModel& opened, LogSink& log) {
  const CalibrationOptions& options = plan.calibration;
  if (options.text.empty()) return {};
  const calibration::Documents documents = [&](const text::Visit& visit) {
    const text::TextFormat format{.one_document_a_line = options.one_document_a_line, .field = options.field};
    text::for_each_document(options.text, format, log, visit);
  };
  RandomStream random(plan.seed, "calibration windows");
  return calibration::token_windows(documents, opened.require_tokenizer(),
                                    {.rule = options.rule,
                                     .bos = options.bos,
                                     .count = options.samples + options.held_out,
                                     .length = options.length},
                                    random);
}

RunInputs open_inputs(const CompressPlan& plan, const backend::Compute& compute, Sinks sinks) {
  RunInputs inputs;
  const bool reads = !plan.calibration.text.empty() || !plan.evaluation.text.empty();
  inputs.opened =
      open_model({plan.model, plan.live}, reads ? TokenizerUse::kRequired : TokenizerUse::kNone, sinks.log);
  if (!plan.dense.empty()) inputs.dense = open_weights(plan.dense, sinks.log);
  inputs.windows = calibration_windows(plan, inputs.opened, sinks.log);
  EvaluationOptions evaluation = plan.evaluation;
  if (!evaluation.field) evaluation.field = plan.calibration.field;
  inputs.evaluator = std::make_unique<Evaluator>(evaluation, inputs.opened, compute, sinks);
  inputs.opened.tokenizer.reset();
  return inputs;
}

ResolvedPlan resolve_run(const CompressPlan& plan, const RunInputs& inputs, const backend::Compute& compute,
                         Sinks sinks) {
  const model::LanguageModel& model = *inputs.opened.model;
  const MachineRates rates = measure_rates(model.config(), compute);
  release_freed_memory();
  const bool evaluates = inputs.evaluator->wanted();
  const PlanningInputs planning{
      .model = model,
      .compute = compute,
      .sizes = {.runtime = backend::of(compute.device).own_memory() ? 0 : resident_bytes(),
                .evaluated = evaluates ? inputs.evaluator->windows() : 0,
                .eval_length = evaluates ? inputs.evaluator->length() : 0},
      .rates = rates};
  const auto budget_of = [&](const CompressPlan& tried, const std::vector<Stage>& stages) {
    return run_budget(tried, planning, stages);
  };
  ResolvedPlan resolved = resolve_plan(plan, planning, budget_of, automatic_repairs(), sinks.log);
  if (inputs.dense) check_same_model(model, *inputs.dense, resolved.plan, resolved.stages);
  return resolved;
}

namespace {

/// `block-criterion` residual refits down before the removed blocks, which not every architecture allows.
void check_some_block_makes_up(const model::Config& config, int64_t kept) {
  for (int64_t b = 0; b < kept; ++b) {
    if (can_make_up(config, b)) return;
  }
  fail(ErrorKind::kInvalidArgument,
       "`block-criterion` residual refits the MLP before the removed blocks, but in this architecture a norm "
       "follows the MLP, or it is a mixture or parallel to the attention; use loss, influence or angular");
}

}  // namespace

std::vector<model::Config> smaller_shapes(const CompressPlan& plan, const model::LanguageModel& model) {
  const StructureOptions& options = plan.structure;
  if (!options.size) {
    model::Config shape = model::shrunk(model.config(), options.shape);
    if (options.shape.blocks && options.block_criterion == structure::BlockCriterion::kResidual)
      check_some_block_makes_up(model.config(), shape.blocks);
    return {std::move(shape)};
  }
  const auto dense = static_cast<double>(model.parameters());
  return structure::shapes_of_size(model.config(), static_cast<int64_t>(*options.size * dense));
}

sparsity::PatternMap checked_patterns(const CompressPlan& plan, const model::LanguageModel& model) {
  sparsity::PatternMap patterns(pattern_of(plan), plan.rules);
  // the first of the shapes of one size has all names; the others lack blocks or have other sizes that
  // engines take
  const auto shapes = matrix_shapes(model, smaller_shapes(plan, model).front());
  std::vector<std::string> names;
  for (const auto& [name, shape] : shapes) names.push_back(name);
  patterns.check_used(names);
  for (const auto& [name, shape] : shapes)
    sparsity::check_width(patterns.of(name, model.at(name).block), shape.at(1), name);
  return patterns;
}

}  // namespace freelunch::pipeline
