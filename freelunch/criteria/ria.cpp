#include <ATen/ATen.h>

#include "freelunch/criteria/criterion.h"

namespace freelunch::criteria {

/// The score is (|W_ij| / sum_i |W_ij| + |W_ij| / sum_j |W_ij|) * ||X_j||^0.5: a weight's share of its column
/// plus its share of its row, times the root of the input's norm (Zhang et al. 2024, ICLR, "Plug-and-Play: An
/// Efficient Post-training Pruning Method for Large Language Models").
const Criterion& ria() {
  static const Criterion criterion{.name = "ria",
                                   .needs = StatsNeeded::kColumnNorms,
                                   .score = [](const at::Tensor& W, const CalibrationStats& stats) {
                                     const at::Tensor A = W.abs();
                                     // the lower limit is for rows and columns of zeros, whose
                                     // weights score 0
                                     const at::Tensor by_input = A / A.sum(0, true).clamp_min(1e-30);
                                     const at::Tensor by_output = A / A.sum(1, true).clamp_min(1e-30);
                                     return (by_input + by_output) * stats.column_norms.sqrt();
                                   }};
  return criterion;
}

}  // namespace freelunch::criteria
