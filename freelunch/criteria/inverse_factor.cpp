#include "freelunch/criteria/inverse_factor.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"

namespace freelunch::criteria {

InverseFactor inverse_factor(const at::Tensor& H, double damping) {
  const at::NoGradGuard no_grad;
  at::Tensor A = H.to(backend::of(H).sum_dtype(), /*non_blocking=*/false, /*copy=*/true);
  const double mean = std::max(A.diagonal().mean().item<double>(), 1e-30);
  double added = 0;
  for (int attempt = 0; attempt <= 5; ++attempt, damping *= 10) {
    A.diagonal().add_((damping - added) * mean);
    added = damping;
    const auto [L, failed] = at::linalg_cholesky_ex(A);
    if (failed.item<int>() != 0) continue;
    const auto [U, failed_again] = at::linalg_cholesky_ex(at::cholesky_inverse(L), /*upper=*/true);
    if (failed_again.item<int>() != 0) continue;
    return {.U = U.to(at::kFloat).contiguous(), .used = damping};
  }
  fail(ErrorKind::kNumerical,
       "sparsegpt: the Gram matrix of {} inputs cannot be factorised, even with {:g} times its mean diagonal "
       "added",
       H.size(0), added);
}

}  // namespace freelunch::criteria
