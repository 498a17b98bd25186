#include "freelunch/pipeline/repair.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "freelunch/pipeline/given_masks.h"
#include "freelunch/pipeline/guard.h"
#include "freelunch/pipeline/run_stage.h"
#include "freelunch/pipeline/stages/allocation.h"
#include "freelunch/pipeline/stages/prune.h"
#include "freelunch/pipeline/stages/sensitivity.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/pipeline/stages/whole_model.h"

namespace freelunch::pipeline {
namespace {

/// Logs the regions that diverged, and a hint where most regions did not improve.
void warn_of_descents(const RunContext& run, const std::string& stage) {
  int64_t regions = 0;
  int64_t unchanged = 0;
  double lowest = std::numeric_limits<double>::infinity();
  for (const RegionRecord& region : run.report.regions) {
    const reconstruct::RegionOutcome& outcome = region.outcome;
    if (region.stage != stage) continue;
    ++regions;
    if (!outcome.improved) ++unchanged;
    lowest = std::min(lowest, outcome.learning_rate);
    if (outcome.restarts == 0) continue;
    run.sinks.log.log(LogLevel::kWarning,
                      fmt::format("{}, {}: diverged, so its learning rate was halved {} time(s)", stage,
                                  region.region, outcome.restarts));
  }
  if (unchanged * 2 <= regions) return;
  run.sinks.log.log(
      LogLevel::kWarning,
      fmt::format("{}: {} of {} regions did not improve on held-out windows and stay unchanged; "
                  "more calibration windows may help, or a learning rate below {:.1g}",
                  stage, unchanged, regions, lowest));
}

/// Masks that retain every weight. A process that resumes the run makes them again.
void retain_all(const RunContext& run) {
  for (const model::ModelTensor& tensor : run.model().tensors()) {
    if (tensor.role && model::is_prunable(*tensor.role))
      run.scratch.put(model::mask_name(tensor.name),
                      at::ones(tensor.shape, at::TensorOptions().dtype(at::kBool)));
  }
}

}  // namespace

void choose_masks(RunContext& run, sparsity::PatternMap& patterns) {
  const bool given = !run.plan.dense.empty();
  if (!given && !prunes_weights(run.plan)) return retain_all(run);
  const bool with_stage = works_on_masks(run.stages);
  if (given) {
    run_stage(run, "read masks", [&](StageRecord& record) {
      record.note = take_given_masks(run);
      record_divergence(run, record);
    });
  } else if (run.plan.allocation == sparsity::Allocation::kOwl) {
    run_stage(run, "allocate", [&](StageRecord& record) {
      run.report.allocation = owl_allocation(run);
      record.note = "owl";
    });
    patterns.allocate(run.report.allocation);
  }
  if (run.plan.sensitivity && with_stage) {
    run_stage(run, "sensitivity", [&](StageRecord&) { measure_sensitivity(run); });
  }
  if (given && !with_stage) return;
  run_stage(run, with_stage ? to_string(run.stages.front()) : "prune", [&](StageRecord& record) {
    if (!given) record.note = run.plan.criterion + " " + sparsity::to_string(pattern_of(run.plan));
    if (with_stage) {
      const Stage& stage = run.stages.front();
      guard_stage(run, stage, record, [&] { type_of(stage).run(run, stage); });
    } else {
      prune(run, /*solve=*/false);
      record_divergence(run, record);
    }
  });
}

void repair(RunContext& run, const Stage& stage) {
  run_stage(run, to_string(stage), [&](StageRecord& record) {
    guard_stage(run, stage, record, [&] {
      type_of(stage).run(run, stage);
      // A later process has no stream to take the hidden states from, and recomputing them could give other
      // bytes.
      if (!is_global(stage)) save_dense_hidden(run);
      warn_of_descents(run, to_string(stage));
    });
  });
  // The dense model's stream is for the stage that distils from it; it must not stay in memory during others.
  const auto next = std::find(run.stages.begin(), run.stages.end(), stage) + 1;
  if (next == run.stages.end() || !is_global(*next)) run.dense_stream.reset();
}

}  // namespace freelunch::pipeline
