#include "freelunch/pipeline/make_smaller.h"

#include <algorithm>
#include <numeric>
#include <system_error>

#include "freelunch/pipeline/block_choice.h"
#include "freelunch/pipeline/cut.h"
#include "freelunch/pipeline/dense_divergence.h"
#include "freelunch/pipeline/guard.h"
#include "freelunch/pipeline/run_setup.h"
#include "freelunch/pipeline/run_stage.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/structure/shape_search.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCutStage = "cut";

/// What was cut and by which criteria: "experts 8 -> 6, reap with refit".
std::string note_of(const RunContext& run, const model::Config& smaller, bool refits) {
  const StructureOptions& options = run.plan.structure;
  const model::Config& dense = run.model().config();
  const bool units = dense.intermediate != smaller.intermediate || dense.heads != smaller.heads ||
                     dense.experts.intermediate != smaller.experts.intermediate;
  std::string criteria;
  const auto add = [&](bool used, std::string_view name) {
    if (used) criteria += (criteria.empty() ? "" : ", ") + std::string(name);
  };
  add(units, options.criterion);
  add(dense.experts.count != smaller.experts.count,
      name_in(structure::kExpertCriterionNames, options.expert_criterion));
  add(dense.blocks != smaller.blocks, name_in(structure::kBlockCriterionNames, options.block_criterion));
  return fmt::format("{}, {}{}", model::shape_change(dense, smaller), criteria, refits ? " with refit" : "");
}

std::vector<int64_t> all_blocks(const model::Config& config) {
  std::vector<int64_t> blocks(static_cast<size_t>(config.blocks));
  std::iota(blocks.begin(), blocks.end(), 0);
  return blocks;
}

/// The shape that the plan asks for, with all blocks.
model::Config whole_depth(const RunContext& run) {
  model::ShapeRequest request = run.plan.structure.shape;
  request.blocks.reset();
  return model::shrunk(run.model().config(), request);
}

fs::path folder_of(const fs::path& work, size_t shape) { return work / fmt::format("smaller-{}", shape); }

/// Cuts each shape in a stage of its own and returns the index of the one with the least divergence from the
/// dense model.
size_t best_shape(RunContext& run, const std::vector<model::Config>& shapes, bool refits,
                  const fs::path& work) {
  std::vector<double> divergence;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const std::string stage = fmt::format("cut, shape {} of {}", i + 1, shapes.size());
    run_stage(run, stage, [&](StageRecord& record) {
      const fs::path folder = folder_of(work, i);
      cut_model(run, shapes[i], all_blocks(shapes[i]), refits, folder);
      forget_cut(run);
      record.note = note_of(run, shapes[i], refits);
      const auto smaller = open_weights(folder, run.sinks.log);
      record.divergence = dense_divergence(run, model::WeightView(*smaller));
    });
    const auto record = std::find_if(run.report.stages.begin(), run.report.stages.end(),
                                     [&](const StageRecord& r) { return r.name == stage; });
    divergence.push_back(record->divergence.value());
    run.sinks.log.log(LogLevel::kInfo,
                      fmt::format("{}: {}, {} weights, KL divergence from the dense model {:.4f}", stage,
                                  record->note, structure::parameters_of(shapes[i]), divergence.back()));
  }
  return static_cast<size_t>(std::min_element(divergence.begin(), divergence.end()) - divergence.begin());
}

}  // namespace

SmallerModel make_smaller(RunContext& run, const fs::path& work) {
  const bool refits = works_on_masks(run.stages);
  const bool searches = run.plan.structure.size.has_value();
  run.report.dense_parameters = run.model().parameters();
  std::vector<model::Config> shapes = smaller_shapes(run.plan, run.model());
  std::vector<int64_t> blocks = all_blocks(run.model().config());
  if (run.plan.structure.shape.blocks) {
    blocks = run.journal.choice("blocks", [&] { return choose_blocks(run, shapes[0].blocks); })
                 .get<std::vector<int64_t>>();
    shapes[0] = model::only_blocks(whole_depth(run), blocks);
  }
  const size_t best = searches ? best_shape(run, shapes, refits, work) : 0;
  const fs::path folder = folder_of(work, best);
  std::unique_ptr<model::LanguageModel> smaller;
  run_stage(run, kCutStage, [&](StageRecord& record) {
    record.note = note_of(run, shapes[best], refits);
    if (!searches) cut_model(run, shapes[best], blocks, refits, folder);
    smaller = open_weights(folder, run.sinks.log);
    if (is_guarded(run)) record.divergence = dense_divergence(run, model::WeightView(*smaller));
  });
  for (size_t i = 0; i < shapes.size(); ++i) {
    std::error_code ignored;  // they go with the work folder at the latest
    if (i != best) fs::remove_all(folder_of(work, i), ignored);
  }
  if (!smaller) smaller = open_weights(folder, run.sinks.log);  // cut by an earlier process
  return {.model = std::move(smaller), .blocks = std::move(blocks)};
}

}  // namespace freelunch::pipeline
