#pragma once
#include <cstdint>
#include <vector>

#include "freelunch/base/enum_names.h"

namespace freelunch::structure {

/// How the blocks that are removed are chosen.
enum class BlockCriterion {
  /// one after the other, each time the one without which the model stays nearest to the dense one on
  /// held-out windows, by the KL divergence (greedy, as SLEB: Song et al. 2024, arXiv 2402.09025)
  kLoss,
  kInfluence,  ///< those that turn the stream least: 1 - mean cos(x_in, x_out) (Men et al. 2024, arXiv
               ///< 2403.03853)
  kAngular,    ///< the run of blocks that turns the stream least (Gromov et al. 2024, arXiv 2403.17887)
  /// the run of blocks that `down` of the block before it can best make up for: the error that its refit
  /// leaves in the stream, as the next block reads it (a least-squares form of ReplaceMe, Shopkhoev et al.
  /// 2025, arXiv 2505.02819, with all inputs of down free)
  kResidual
};
inline constexpr EnumNames<BlockCriterion, 4> kBlockCriterionNames{{{BlockCriterion::kLoss, "loss"},
                                                                    {BlockCriterion::kInfluence, "influence"},
                                                                    {BlockCriterion::kAngular, "angular"},
                                                                    {BlockCriterion::kResidual, "residual"}}};

/// The blocks that stay when those with the lowest scores go: `kept` of them, ascending.
std::vector<int64_t> highest_blocks(const std::vector<double>& scores, int64_t kept);

/// The blocks that stay when the run of blocks with the lowest score goes: scores[i] is that of blocks i to
/// i + removed - 1.
std::vector<int64_t> all_but_lowest_run(const std::vector<double>& scores, int64_t blocks, int64_t removed);

}  // namespace freelunch::structure
