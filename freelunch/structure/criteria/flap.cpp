#include <ATen/ATen.h>

#include "freelunch/structure/unit_criterion.h"

namespace freelunch::structure {

/// Weighted input fluctuation, Var(x_j) * ||W_:j||^2, averaged over the columns of a unit (An et al. 2023,
/// arXiv 2312.11983). It is the error of removing column j alone if the bias takes up its mean. The published
/// code squares the score of heads once more; for a fixed number of heads in each block that changes little,
/// so it is left out.
const UnitCriterion& flap() {
  static const UnitCriterion criterion{
      .name = "flap", .needs = UnitStats::kMoments, .score = [](const UnitChoice& choice) {
        const auto tokens = static_cast<double>(choice.tokens);
        const at::Tensor variance = choice.H.diagonal() / tokens - (choice.sums / tokens).square();
        return (variance.clamp_min(0) * choice.W.square().sum(0)).view({-1, choice.size}).mean(1);
      }};
  return criterion;
}

}  // namespace freelunch::structure
