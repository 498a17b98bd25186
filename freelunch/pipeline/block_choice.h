#pragma once
#include <vector>

#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// The most held-out windows that `loss` compares on: it runs the model once for every block and removal.
inline constexpr int64_t kLossWindows = 4;

/// The blocks of the dense model that stay, ascending, by the plan's criterion for blocks, for each number in
/// `kept`. `loss` takes the held-out windows, the others the calibration windows.
std::vector<std::vector<int64_t>> choose_blocks(RunContext& run, const std::vector<int64_t>& kept);

/// The name of the stage that chooses them.
inline constexpr const char* kBlockChoiceStage = "choose blocks";

/// The budget of choose_blocks() for the numbers in `kept`, without what the head and its logits take
/// (run_budget.cpp).
StageBudget block_choice_budget(const CostModel& dense, const std::vector<int64_t>& kept);

}  // namespace freelunch::pipeline
