#include "freelunch/pipeline/guard.h"

#include <ATen/core/TensorBody.h>

#include <cmath>

#include "freelunch/pipeline/dense_divergence.h"
#include "freelunch/pipeline/former_tensors.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {
namespace {

model::WeightView pruned_weights(const RunContext& run) {
  return model::WeightView(run.model(), &run.scratch, model::Overlay::kPruned);
}

/// What the last stage recorded, also in an earlier process: measuring again would cost a pass, and a region
/// of the next stage may have changed already.
std::optional<double> last_divergence(const RunReport& report) {
  for (auto stage = report.stages.rbegin(); stage != report.stages.rend(); ++stage) {
    if (stage->divergence) return stage->undone ? stage->divergence_before : stage->divergence;
  }
  return std::nullopt;
}

/// Whether a stage measures the divergence itself, as its loss on held-out windows. Such a stage writes
/// nothing unless it has lowered it.
bool measures_itself(const RunContext& run, const Stage& stage) {
  return is_global(stage) && run.plan.model_stage.loss == reconstruct::TokenLoss::kKl;
}

/// The matrices as they were pruned, in place of those that a stage on masks has fitted.
void restore_pruned(RunContext& run) {
  const model::WeightView pruned = pruned_weights(run);
  for (const TensorRecord& record : run.report.tensors)
    run.scratch.put(record.name, pruned.tensor(run.model().at(record.name)));
}

std::string reason(double before, double after) {
  const std::string what = "the KL divergence from the dense model on held-out windows";
  if (!std::isfinite(after)) return what + " is not finite after it";
  if (after == before) return fmt::format("{} stayed at {:.4g}", what, before);
  return fmt::format("{} rose from {:.4g} to {:.4g}", what, before, after);
}

}  // namespace

bool is_guarded(const RunContext& run) { return run.windows.defined() && run.held_out > 0; }

void record_divergence(RunContext& run, StageRecord& record) {
  if (is_guarded(run)) record.divergence = dense_divergence(run, run.current());
}

void guard_stage(RunContext& run, const Stage& stage, StageRecord& record,
                 const std::function<void()>& work) {
  if (!is_guarded(run)) return work();
  const bool on_masks = type_of(stage).scope == StageScope::kMasks;
  const bool itself = measures_itself(run, stage);
  // A stage that chooses masks is compared with the masks alone; an earlier measurement is of a model without
  // them.
  const bool chooses = on_masks && run.plan.dense.empty();
  std::optional<double> before = chooses ? std::nullopt : last_divergence(run.report);
  if (!before && !on_masks) before = dense_divergence(run, run.current());
  run.keeps_former = run.plan.guard && !on_masks && !itself;
  work();
  run.keeps_former = false;
  if (!before) before = dense_divergence(run, pruned_weights(run));  // there are masks only now
  const double after =
      itself ? run.report.regions.back().outcome.held_out_after : dense_divergence(run, run.current());
  record.divergence_before = before;
  record.divergence = after;
  // nothing is lower than a number that is not finite, but any finite one is better
  const bool lowered = std::isfinite(after) && !(after >= *before);
  if (!lowered && run.plan.guard) {
    record.undone = true;
    if (on_masks)
      restore_pruned(run);
    else
      restore_former(run.scratch);
    // a stage that stopped itself, and put back all it had done, has said so
    if (run.note.empty() || after != *before)
      run.sinks.log.log(LogLevel::kWarning,
                        fmt::format("{}: undone, since {}", to_string(stage), reason(*before, after)));
  }
  drop_former(run.scratch);
}

}  // namespace freelunch::pipeline
