#pragma once
#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// Counts the zeros of the tensors that will be saved, in the dtype they are saved in, and records them in
/// the report; warns where they differ from what the pattern asks for. Throws Numerical if a weight that a
/// mask removes is not zero.
void count_zeros(RunContext& run);

}  // namespace freelunch::pipeline
