#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::criteria {

/// The upper Cholesky factor U (in, in) fp32 of the damped inverse of a Gram matrix H:
/// (H + lambda I)^-1 = U^T U, lambda = used * mean diag H.
struct InverseFactor {
  at::Tensor U;
  double used = 0;  ///< the damping that worked
};

/// Factorises H (in, in), any floating dtype, in fp64 if the device has it. If that fails with the given
/// damping, the damping is raised tenfold, at most five times. Throws Numerical if no damping works.
InverseFactor inverse_factor(const at::Tensor& H, double damping = 0.01);

}  // namespace freelunch::criteria
