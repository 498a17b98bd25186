#include <algorithm>

#include "freelunch/pipeline/block_choice.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {
namespace {

using structure::BlockCriterion;

/// `loss`: for each removal and each block that may go, the blocks behind it and the head. The streams are
/// the embedded windows, those before and behind the candidate, and the dense model's.
void add_losses(const CostModel& dense, int64_t least, StageBudget& stage) {
  const int64_t tokens = std::min(kLossWindows, dense.plan().calibration.held_out) * dense.length();
  stage.activations = 5 * tokens * dense.config().width * kFp32Bytes;
  stage.workspace = dense.widest_pass(tokens);
  double passes = 0;
  double scored = 0;
  for (int64_t blocks = dense.config().blocks; blocks > least; --blocks) {
    passes += static_cast<double>(blocks) * static_cast<double>(blocks + 1) / 2;
    scored += static_cast<double>(blocks);
  }
  const double head = 2 * static_cast<double>(dense.head_elements());
  dense.spend(stage,
              static_cast<double>(tokens) * (passes * dense.forward_block(dense.length()) + scored * head), 0,
              0);
}

/// `residual`: for each block the moments of down, and the blocks behind it that may go.
void add_residuals(const CostModel& dense, const std::vector<int64_t>& kept, StageBudget& stage) {
  const auto inner = static_cast<double>(dense.config().intermediate);
  const auto width = static_cast<double>(dense.config().width);
  const int64_t squares = dense.config().intermediate * dense.config().intermediate;
  dense.add_residual_streams(stage, 1);
  dense.add_streams(stage, 1, dense.config().intermediate, dense.compute().dtype);
  stage.statistics = 2 * (statistics::Gram::bytes(dense.config().intermediate, at::kDouble) +
                          dense.config().intermediate * dense.config().width * kFp64Bytes);
  stage.workspace = std::max(5 * squares * kFp64Bytes, dense.widest_pass(kWindowsPerPass * dense.length()));
  double operations = 0;
  double exact = 0;
  for (const int64_t n : kept) {
    const auto removed = static_cast<double>(dense.config().blocks - n);
    stage.weights = std::max(
        stage.weights, (1 + dense.config().blocks - n) * dense.block_elements() * dense.compute_bytes());
    operations += static_cast<double>(n) * dense.tokens() *
                  ((2 + removed) * dense.forward_block(dense.length()) + inner * (inner + 4 * width));
    exact += static_cast<double>(n) * static_cast<double>(dense.plan().grid.lambdas.size()) *
             (inner * inner * inner / 3 + 4 * inner * inner * width);
  }
  dense.spend(stage, operations, 2 * exact, 0);
}

}  // namespace

StageBudget block_choice_budget(const CostModel& dense, const std::vector<int64_t>& kept) {
  StageBudget stage = dense.start(kBlockChoiceStage);
  stage.weights = dense.block_elements() * (dense.compute_bytes() + kFp32Bytes);
  const BlockCriterion criterion = dense.plan().structure.block_criterion;
  if (criterion == BlockCriterion::kLoss) {
    add_losses(dense, *std::min_element(kept.begin(), kept.end()), stage);
  } else if (criterion == BlockCriterion::kResidual) {
    add_residuals(dense, kept, stage);
  } else {  // one pass for each number; the streams between the blocks of one batch live together
    const int64_t span = criterion == BlockCriterion::kInfluence
                             ? 1
                             : dense.config().blocks - *std::min_element(kept.begin(), kept.end());
    const int64_t tokens = kWindowsPerPass * dense.length();
    stage.activations = (span + 1) * tokens * dense.config().width * kFp32Bytes;
    stage.workspace = dense.widest_pass(tokens);
    dense.spend(stage,
                static_cast<double>(kept.size()) * dense.tokens() *
                    static_cast<double>(dense.config().blocks) * dense.forward_block(dense.length()),
                0, 0);
  }
  return stage;
}

}  // namespace freelunch::pipeline
