#include <ATen/ATen.h>

#include "freelunch/criteria/criterion.h"

namespace freelunch::criteria {

/// The score is |W_ij| * ||X_j||; the weights of an output row compete (Sun et al. 2023, arXiv 2306.11695).
const Criterion& wanda() {
  static const Criterion criterion{.name = "wanda",
                                   .needs = StatsNeeded::kColumnNorms,
                                   .score = [](const at::Tensor& W, const CalibrationStats& stats) {
                                     return W.abs() * stats.column_norms;
                                   }};
  return criterion;
}

}  // namespace freelunch::criteria
