#include "freelunch/pipeline/repair.h"

#include <algorithm>
#include <limits>

#include "freelunch/pipeline/given_masks.h"
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

}  // namespace

void choose_masks(RunContext& run, sparsity::PatternMap& patterns) {
  const bool given = !run.plan.dense.empty();
  const bool with_stage = works_on_masks(run.stages);
  if (given) {
    run_stage(run, "read masks", [&] { return take_given_masks(run); });
  } else if (run.plan.allocation == sparsity::Allocation::kOwl) {
    run_stage(run, "allocate", [&] {
      run.report.allocation = owl_allocation(run);
      return std::string("owl");
    });
    patterns.allocate(run.report.allocation);
  }
  if (run.plan.sensitivity && with_stage) {
    run_stage(run, "sensitivity", [&] {
      measure_sensitivity(run);
      return std::string();
    });
  }
  if (given && !with_stage) return;
  run_stage(run, with_stage ? to_string(run.stages.front()) : "prune", [&] {
    if (with_stage)
      type_of(run.stages.front()).run(run, run.stages.front());
    else
      prune(run, /*solve=*/false);
    return given ? std::string() : run.plan.criterion + " " + sparsity::to_string(run.plan.pattern);
  });
}

void repair(RunContext& run, const Stage& stage) {
  run_stage(run, to_string(stage), [&] {
    type_of(stage).run(run, stage);
    // A later process has no stream to take the hidden states from, and recomputing them could give other
    // bytes.
    if (!is_global(stage)) save_dense_hidden(run);
    warn_of_descents(run, to_string(stage));
    return std::string();
  });
  // The dense model's stream is for the stage that distils from it; it must not stay in memory during others.
  const auto next = std::find(run.stages.begin(), run.stages.end(), stage) + 1;
  if (next == run.stages.end() || !is_global(*next)) run.dense_stream.reset();
}

}  // namespace freelunch::pipeline
