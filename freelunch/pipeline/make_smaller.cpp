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

/// A smaller model that may be made: its shape, and the blocks of the dense model that stay.
struct Candidate {
  model::Config shape;
  std::vector<int64_t> blocks;
};

/// `shape` with these of the dense model's blocks, whichever it has itself.
model::Config with_blocks(model::Config shape, const model::Config& dense, const std::vector<int64_t>& kept) {
  shape.blocks = dense.blocks;
  shape.layer_type_of_block = dense.layer_type_of_block;
  shape.experts.of_block = dense.experts.of_block;
  return model::only_blocks(shape, kept);
}

/// The shapes that the plan asks for, with the blocks that its criterion keeps in each.
std::vector<Candidate> candidates_of(RunContext& run) {
  const model::Config& dense = run.model().config();
  const std::vector<model::Config> shapes = smaller_shapes(run.plan, run.model());
  std::vector<int64_t> kept;  // of the shapes that lose blocks
  for (const model::Config& shape : shapes) {
    if (shape.blocks < dense.blocks) kept.push_back(shape.blocks);
  }
  std::vector<std::vector<int64_t>> choices;
  if (!kept.empty()) {
    const auto choose = [&] { return nlohmann::json(choose_blocks(run, kept)); };
    run_stage(run, kBlockChoiceStage, [&](StageRecord& record) {
      run.journal.choice("blocks", choose);
      record.note = name_in(structure::kBlockCriterionNames, run.plan.structure.block_criterion);
    });
    choices = run.journal.choice("blocks", choose).get<std::vector<std::vector<int64_t>>>();
  }
  std::vector<int64_t> all(static_cast<size_t>(dense.blocks));
  std::iota(all.begin(), all.end(), 0);
  std::vector<Candidate> candidates;
  auto choice = choices.begin();
  for (const model::Config& shape : shapes) {
    const std::vector<int64_t>& blocks = shape.blocks < dense.blocks ? *choice++ : all;
    candidates.push_back({.shape = with_blocks(shape, dense, blocks), .blocks = blocks});
  }
  return candidates;
}

fs::path folder_of(const fs::path& work, size_t shape) { return work / fmt::format("smaller-{}", shape); }

/// Cuts each candidate in a stage of its own and returns the index of the one with the least divergence from
/// the dense model.
size_t best_of(RunContext& run, const std::vector<Candidate>& candidates, bool refits, const fs::path& work) {
  std::vector<double> divergence;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const auto& [shape, blocks] = candidates[i];
    const std::string stage = cut_stage(i, candidates.size());
    run_stage(run, stage, [&](StageRecord& record) {
      const fs::path folder = folder_of(work, i);
      cut_model(run, shape, blocks, refits, folder);
      forget_cut(run);
      record.note = note_of(run, shape, refits);
      const auto smaller = open_weights(folder, run.sinks.log);
      record.divergence = dense_divergence(run, model::WeightView(*smaller));
    });
    const auto record = std::find_if(run.report.stages.begin(), run.report.stages.end(),
                                     [&](const StageRecord& r) { return r.name == stage; });
    divergence.push_back(record->divergence.value());
    run.sinks.log.log(LogLevel::kInfo,
                      fmt::format("{}: {}, {} weights, KL divergence from the dense model {:.4f}", stage,
                                  record->note, structure::parameters_of(shape), divergence.back()));
  }
  return static_cast<size_t>(std::min_element(divergence.begin(), divergence.end()) - divergence.begin());
}

}  // namespace

std::string cut_stage(size_t index, size_t shapes) {
  return fmt::format("{}, shape {} of {}", kCutStage, index + 1, shapes);
}

SmallerModel make_smaller(RunContext& run, const fs::path& work) {
  const bool refits = works_on_masks(run.stages);
  const bool searches = run.plan.structure.size.has_value();
  run.report.dense_parameters = run.model().parameters();
  std::vector<Candidate> candidates = candidates_of(run);
  const size_t best = searches ? best_of(run, candidates, refits, work) : 0;
  auto& [shape, blocks] = candidates[best];
  const fs::path folder = folder_of(work, best);
  std::unique_ptr<model::LanguageModel> smaller;
  run_stage(run, kCutStage, [&](StageRecord& record) {
    record.note = note_of(run, shape, refits);
    if (!searches) cut_model(run, shape, blocks, refits, folder);
    smaller = open_weights(folder, run.sinks.log);
    if (is_guarded(run)) record.divergence = dense_divergence(run, model::WeightView(*smaller));
  });
  for (size_t i = 0; i < candidates.size(); ++i) {
    std::error_code ignored;  // they go with the work folder at the latest
    if (i != best) fs::remove_all(folder_of(work, i), ignored);
  }
  if (!smaller) smaller = open_weights(folder, run.sinks.log);  // cut by an earlier process
  return {.model = std::move(smaller), .blocks = std::move(blocks)};
}

}  // namespace freelunch::pipeline
