#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/criteria/criterion.h"

namespace freelunch::criteria {
namespace {

using sparsity::Group;
using sparsity::NofM;
using sparsity::Pattern;
using sparsity::Unstructured;

constexpr int64_t kBlock = 128;

/// Saliency of the columns [begin, end) of a block: w^2 / [U]_jj^2, 0 where the input never fired.
/// Wt (columns, out): weights as the sweep has left them, one column a row, so that a step reads memory in
/// order.
at::Tensor saliency(const at::Tensor& Wt, const at::Tensor& diagonal, const at::Tensor& fired) {
  return Wt.div(diagonal.unsqueeze(1)).square_().mul_(fired.unsqueeze(1));
}

/// bool (columns, out): what an unstructured pattern keeps of one block of columns. Zeros are counted from
/// the first column on, so that the blocks of a row, or of the matrix, add up to exactly what was asked for.
at::Tensor keep_of_block(const at::Tensor& scores, double fraction, int64_t first, Group group) {
  const int64_t columns = scores.size(0);
  const int64_t rows = group == Group::kMatrix ? scores.size(1) : 1;
  const int64_t remove =
      sparsity::removed_of(fraction, rows * (first + columns)) - sparsity::removed_of(fraction, rows * first);
  const at::Tensor by_row = scores.t().contiguous();  // (out, columns)
  const at::Tensor groups = group == Group::kMatrix ? by_row.view({1, -1}) : by_row;
  return sparsity::keep_largest(groups, remove).view(by_row.sizes()).t().contiguous();
}

Pruned sweep(const at::Tensor& W_dense, const CalibrationStats& stats, const Pattern& pattern, Group group) {
  const at::NoGradGuard no_grad;
  sparsity::check_width(pattern, W_dense.size(1), "W");
  const at::Tensor& U = stats.inverse_factor;
  const at::Tensor fired = stats.column_norms.gt(0);
  const auto* n_of_m = std::get_if<NofM>(&pattern);
  const int64_t columns = W_dense.size(1);
  const int64_t step = n_of_m != nullptr ? kBlock / n_of_m->of * n_of_m->of : kBlock;
  at::Tensor W = W_dense.t().contiguous();  // (in, out)
  at::Tensor retained = at::empty(W.sizes(), W.options().dtype(at::kBool));
  for (int64_t i = 0; i < columns; i += step) {
    throw_if_interrupted();
    const int64_t n = std::min(step, columns - i);
    const at::Tensor block = W.narrow(0, i, n);
    const at::Tensor block_retained = retained.narrow(0, i, n);
    const at::Tensor factor = U.narrow(0, i, n).narrow(1, i, n).contiguous();
    const at::Tensor diagonal = factor.diagonal().contiguous();
    const at::Tensor block_fired = fired.narrow(0, i, n);
    if (n_of_m == nullptr) {
      at::Tensor scores = saliency(block, diagonal, block_fired);
      // the score is a square, and so is the weight of a row
      if (stats.row_weights.defined()) scores.mul_(stats.row_weights.square());
      block_retained.copy_(keep_of_block(scores, std::get<Unstructured>(pattern).zero_fraction, i, group));
    }
    at::Tensor errors = at::empty_like(block);
    for (int64_t j = 0; j < n; ++j) {
      if (n_of_m != nullptr && j % n_of_m->of == 0) {
        const int64_t m = n_of_m->of;
        const at::Tensor scores =
            saliency(block.narrow(0, j, m), diagonal.narrow(0, j, m), block_fired.narrow(0, j, m));
        block_retained.narrow(0, j, m).copy_(
            sparsity::select_largest(scores.t().contiguous(), pattern, group).retained.t());
      }
      at::Tensor w = block.select(0, j);
      at::Tensor error = errors.select(0, j);
      at::mul_out(error, w, block_retained.select(0, j).logical_not());
      w.sub_(error);  // a removed weight becomes exactly zero
      error.div_(diagonal.select(0, j));
      if (j + 1 < n)
        block.narrow(0, j + 1, n - j - 1)
            .addr_(factor.select(0, j).narrow(0, j + 1, n - j - 1), error, 1, -1);
    }
    const int64_t right = columns - i - n;
    if (right > 0) {
      // (right, out) -= U[block, right]^T errors
      W.narrow(0, i + n, right).addmm_(U.narrow(0, i, n).narrow(1, i + n, right).t(), errors, 1, -1);
    }
  }
  if (!W.isfinite().all().item<bool>()) fail(ErrorKind::kNumerical, "sparsegpt: a weight is not finite");
  return {.mask = {retained.t().contiguous()}, .W = W.t().contiguous()};
}

}  // namespace

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
       "sparsegpt: the Gram matrix of {} inputs cannot be factorised, even with {:g} of its mean diagonal "
       "added",
       H.size(0), added);
}

/// The optimal-brain-surgeon sweep of Frantar and Alistarh 2023 (arXiv 2301.00774): blocks of 128 columns; in
/// each, weights go by w^2 / [H^-1]_jj^2 and the columns to the right take over what they did.
const Criterion& sparsegpt() {
  static const Criterion criterion{
      .name = "sparsegpt", .needs = StatsNeeded::kGram, .group = Group::kMatrix, .prune = &sweep};
  return criterion;
}

}  // namespace freelunch::criteria
