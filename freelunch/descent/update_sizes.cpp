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

UpdateSizes::UpdateSizes(const at::Tensor& value, RateUnit unit) {
  if (unit == RateUnit::kAbsolute) return;
  const at::Tensor squares = value.square();
  if (value.dim() == 1) {
    const double rms = squares.mean().sqrt().item<double>();
    columns_ = value.abs().clamp_min(rms > 0 ? rms / 20 : 0.1);
    return;
  }
  const at::Tensor retained = (value != 0).to(at::kFloat);
  const at::Tensor in_row = retained.sum(1);
  const at::Tensor in_column = retained.sum(0);
  rows_ = means(squares.sum(1), in_row);
  for (int i = 0; i < kSweeps; ++i) {
    columns_ = means(at::mv(squares.t(), rows_.reciprocal()), in_column);
    rows_ = means(at::mv(squares, columns_.reciprocal()), in_row);
  }
  rows_.sqrt_();
  columns_.sqrt_();
}

at::Tensor UpdateSizes::times(const at::Tensor& t) const {
  if (all_one()) return t;
  return rows_.defined() ? t * rows_.unsqueeze(1) * columns_ : t * columns_;
}

at::Tensor UpdateSizes::over(const at::Tensor& t) const {
  if (all_one()) return t;
  return rows_.defined() ? t / rows_.unsqueeze(1) / columns_ : t / columns_;
}

}  // namespace freelunch::reconstruct
