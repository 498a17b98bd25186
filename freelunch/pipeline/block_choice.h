#pragma once
#include <vector>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// The `kept` blocks of the dense model that stay, ascending, by the plan's criterion for blocks. `loss`
/// takes the held-out windows, the others the calibration windows.
std::vector<int64_t> choose_blocks(RunContext& run, int64_t kept);

}  // namespace freelunch::pipeline
