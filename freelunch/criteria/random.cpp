#include <ATen/ATen.h>

#include "freelunch/criteria/criterion.h"

namespace freelunch::criteria {

/// The score is uniform noise from the matrix's random stream: the baseline that any criterion must beat.
const Criterion& random() {
  static const Criterion criterion{.name = "random",
                                   .group = sparsity::Group::kMatrix,
                                   .draws_random = true,
                                   .has_scores = false,
                                   .score = [](const at::Tensor& W, const CalibrationStats& stats) {
                                     at::Tensor noise = at::empty(W.sizes(), at::kFloat);
                                     float* values = noise.mutable_data_ptr<float>();
                                     for (int64_t i = 0; i < noise.numel(); ++i)
                                       values[i] = static_cast<float>(stats.random->uniform());
                                     return noise.to(W.device());
                                   }};
  return criterion;
}

}  // namespace freelunch::criteria
