#pragma once
#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// Everything before the first gradient: masks taken from the model or chosen by the criterion, the
/// statistics for them, and the first stage of the repair if that works while masks are chosen. `patterns`
/// are those of `run`; OWL changes them.
void choose_masks(RunContext& run, sparsity::PatternMap& patterns);
/// Any later stage of the repair.
void repair(RunContext& run, const Stage& stage);

}  // namespace freelunch::pipeline
