#pragma once
#include <string>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// Takes the zeros of the opened model's matrices as its masks. Returns a note for the report. Throws
/// InvalidArgument if fewer than 1 % of the weights are zero.
std::string take_given_masks(RunContext& run);

}  // namespace freelunch::pipeline
