#pragma once
#include <vector>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// The blocks of the dense model that stay, ascending, by the plan's criterion for blocks, for each number in
/// `kept`. `loss` takes the held-out windows, the others the calibration windows.
std::vector<std::vector<int64_t>> choose_blocks(RunContext& run, const std::vector<int64_t>& kept);

}  // namespace freelunch::pipeline
