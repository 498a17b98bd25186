#pragma once
#include <functional>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// Whether the run compares its weights with the dense model after each stage: it has held-out windows.
bool is_guarded(const RunContext& run);

/// Records how far the weights are from the dense model before any repair. Does nothing in a run without a
/// guard.
void record_divergence(RunContext& run, StageRecord& record);

/// Runs `work`, a stage of the repair, and records in `record` how far the weights are from the dense model
/// before and after it. If that did not decrease, undoes the stage, unless the plan says `guard` off: the
/// weights become those before the stage, for a stage on masks the pruned ones. Then logs one warning. In a
/// run without a guard it only runs `work`. To be called within the stage's run_stage(), so that the stage
/// and its undoing are one step of the journal.
void guard_stage(RunContext& run, const Stage& stage, StageRecord& record, const std::function<void()>& work);

}  // namespace freelunch::pipeline
