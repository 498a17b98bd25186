#include <ATen/ATen.h>

#include "freelunch/criteria/criterion.h"

namespace freelunch::criteria {

/// The score is |W_ij|; all weights of the matrix compete (Han et al. 2015, arXiv 1506.02626).
const Criterion& magnitude() {
  static const Criterion criterion{
      .name = "magnitude",
      .group = sparsity::Group::kMatrix,
      .score = [](const at::Tensor& W, const CalibrationStats&) { return W.abs(); }};
  return criterion;
}

}  // namespace freelunch::criteria
