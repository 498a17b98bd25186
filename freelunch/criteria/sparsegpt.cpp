#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

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

/// A block of columns of the sweep. Weights are stored transposed, one column of W in a row, so that a step
/// reads memory in order. The tensors are views: the functions below change them in place.
struct Columns {
  at::Tensor weights;   ///< (columns, out) fp32, as the sweep has left them so far
  at::Tensor retained;  ///< (columns, out) bool
  at::Tensor factor;    ///< (columns, columns) fp32: the block's part of U
  at::Tensor diagonal;  ///< (columns) fp32: diag U
  at::Tensor fired;     ///< (columns) bool: whether the input was ever not zero
};

/// w^2 / [U]_jj^2 of columns first .. first + n - 1, (n, out); 0 for inputs that are always zero.
at::Tensor saliency(const Columns& block, int64_t first, int64_t n) {
  return block.weights.narrow(0, first, n)
      .div(block.diagonal.narrow(0, first, n).unsqueeze(1))
      .square_()
      .mul_(block.fired.narrow(0, first, n).unsqueeze(1));
}

/// What an unstructured pattern retains of scores (columns, out), bool of the same shape. `first` is the
/// block's first column. Zeros are counted from column 0 on, so the blocks of a row, or of the matrix,
/// together have exactly the number of zeros that was asked for.
at::Tensor retain_largest(const at::Tensor& scores, double fraction, int64_t first, Group group) {
  const int64_t columns = scores.size(0);
  const int64_t rows = group == Group::kMatrix ? scores.size(1) : 1;
  const int64_t remove =
      sparsity::removed_of(fraction, rows * (first + columns)) - sparsity::removed_of(fraction, rows * first);
  const at::Tensor by_row = scores.t().contiguous();  // (out, columns)
  const at::Tensor groups = group == Group::kMatrix ? by_row.view({1, -1}) : by_row;
  return sparsity::keep_largest(groups, remove).view(by_row.sizes()).t().contiguous();
}

/// Unstructured: the mask of a whole block is chosen before its weights move.
void choose_block(const Columns& block, double fraction, int64_t first, Group group,
                  const at::Tensor& row_weights) {
  at::Tensor scores = saliency(block, 0, block.weights.size(0));
  // the score is a square, so the weight of a row is squared too
  if (row_weights.defined()) scores.mul_(row_weights.square());
  block.retained.copy_(retain_largest(scores, fraction, first, group));
}

/// N:M: the mask of M columns from `column` on is chosen when the sweep reaches them.
void choose_columns(const Columns& block, const NofM& pattern, int64_t column) {
  const at::Tensor scores = saliency(block, column, pattern.of);
  block.retained.narrow(0, column, pattern.of)
      .copy_(sparsity::select_largest(scores.t().contiguous(), pattern, Group::kRow).retained.t());
}

/// Removes the weights of column j and moves the later columns of the block to make up for them. errors
/// (columns, out): row j receives w / [U]_jj of the removed weights.
void sweep_column(const Columns& block, int64_t j, const at::Tensor& errors) {
  const int64_t n = block.weights.size(0);
  at::Tensor w = block.weights.select(0, j);
  at::Tensor error = errors.select(0, j);
  at::mul_out(error, w, block.retained.select(0, j).logical_not());
  w.sub_(error);  // a removed weight becomes exactly zero
  error.div_(block.diagonal.select(0, j));
  if (j + 1 < n)
    block.weights.narrow(0, j + 1, n - j - 1)
        .addr_(block.factor.select(0, j).narrow(0, j + 1, n - j - 1), error, 1, -1);
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
    const at::Tensor factor = U.narrow(0, i, n).narrow(1, i, n).contiguous();
    const Columns block{.weights = W.narrow(0, i, n),
                        .retained = retained.narrow(0, i, n),
                        .factor = factor,
                        .diagonal = factor.diagonal().contiguous(),
                        .fired = fired.narrow(0, i, n)};
    if (n_of_m == nullptr)
      choose_block(block, std::get<Unstructured>(pattern).zero_fraction, i, group, stats.row_weights);
    const at::Tensor errors = at::empty_like(block.weights);
    for (int64_t j = 0; j < n; ++j) {
      if (n_of_m != nullptr && j % n_of_m->of == 0) choose_columns(block, *n_of_m, j);
      sweep_column(block, j, errors);
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

/// The optimal-brain-surgeon sweep of Frantar and Alistarh 2023 (arXiv 2301.00774). In blocks of 128 columns,
/// the weights with the smallest w^2 / [U]_jj^2 are removed, column by column from the left; the columns to
/// the right move to make up for them. U is inverse_factor() of the Gram matrix.
const Criterion& sparsegpt() {
  static const Criterion criterion{
      .name = "sparsegpt", .needs = StatsNeeded::kGram, .group = Group::kMatrix, .prune = &sweep};
  return criterion;
}

}  // namespace freelunch::criteria
