#include "freelunch/descent/update_sizes.h"

#include <ATen/ATen.h>

namespace freelunch::reconstruct {
namespace {

constexpr int kSweeps = 8;  // the sizes of random masked matrices settle within a percent

/// Sums divided by their counts; 1 where there is nothing to count or all is zero.
at::Tensor means(const at::Tensor& sums, const at::Tensor& counts) {
  const at::Tensor means = sums / counts.clamp_min(1);
  return at::where(means > 0, means, at::ones_like(means));
}

}  // namespace

MatrixSizes matrix_sizes(const at::Tensor& W) {
  const at::Tensor squares = W.square();
  const at::Tensor retained = (W != 0).to(at::kFloat);
  const at::Tensor in_row = retained.sum(1);
  const at::Tensor in_column = retained.sum(0);
  at::Tensor rows = means(squares.sum(1), in_row);
  at::Tensor columns = at::ones({W.size(1)}, W.options());
  for (int i = 0; i < kSweeps; ++i) {
    columns = means(at::mv(squares.t(), rows.reciprocal()), in_column);
    rows = means(at::mv(squares, columns.reciprocal()), in_row);
  }
  return {.rows = rows.sqrt_(), .columns = columns.sqrt_()};
}

at::Tensor vector_sizes(const at::Tensor& value) {
  const double rms = value.square().mean().sqrt().item<double>();
  return value.abs().clamp_min(rms > 0 ? rms / 20 : 0.1);
}

UpdateSizes::UpdateSizes(const at::Tensor& value) {
  if (value.dim() != 2) {
    columns_ = vector_sizes(value);
    return;
  }
  const MatrixSizes sizes = matrix_sizes(value);
  rows_ = sizes.rows.unsqueeze(1);
  columns_ = sizes.columns;
}

at::Tensor UpdateSizes::times(const at::Tensor& t) const {
  if (!columns_.defined()) return t;
  return rows_.defined() ? t * rows_ * columns_ : t * columns_;
}

at::Tensor UpdateSizes::over(const at::Tensor& t) const {
  if (!columns_.defined()) return t;
  return rows_.defined() ? t / rows_ / columns_ : t / columns_;
}

}  // namespace freelunch::reconstruct
