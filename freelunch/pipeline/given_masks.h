#pragma once
#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// Refuses a pruned model that is not the dense one with weights removed: another architecture or shape, or,
/// where a stage compares their next-token distributions, another head. Throws InvalidArgument saying what
/// differs.
void check_same_model(const model::LanguageModel& pruned, const model::LanguageModel& dense,
                      const CompressPlan& plan, const std::vector<Stage>& stages);

/// Makes the zeros of the opened model's matrices its masks. Returns a note for the report. Throws
/// InvalidArgument if it has next to none.
std::string take_given_masks(RunContext& run);

}  // namespace freelunch::pipeline
