#include <ATen/ATen.h>

#include "freelunch/structure/unit_criterion.h"

namespace freelunch::structure {

/// Wanda's scores, mean_i |W_ij| * ||X_j||, added up over the columns of a unit: wanda-sp of the FLAP
/// repository (An et al. 2023, arXiv 2312.11983).
const UnitCriterion& wanda() {
  static const UnitCriterion criterion{
      .name = "wanda", .needs = UnitStats::kMoments, .score = [](const UnitChoice& choice) {
        const at::Tensor norms = choice.H.diagonal().clamp_min(0).sqrt();
        return (choice.W.abs().mean(0) * norms).view({-1, choice.size}).sum(1);
      }};
  return criterion;
}

}  // namespace freelunch::structure
