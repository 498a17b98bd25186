#include "statistics/gram.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"

namespace freelunch::statistics {
namespace {

at::Tensor rows_of(const at::Tensor& X, int64_t width) {
  if (X.size(-1) != width)
    fail(ErrorKind::kInvalidArgument, "inputs have {} features, expected {}", X.size(-1), width);
  return X.reshape({-1, width}).to(at::kFloat);
}

at::TensorOptions fp64(at::Device device) { return at::TensorOptions().dtype(at::kDouble).device(device); }

/// Only the blocks on and above the diagonal are multiplied; this many columns a block keeps the products
/// large.
int64_t block_columns(int64_t width) { return std::max<int64_t>(192, (width + 3) / 4); }

}  // namespace

ColumnNorms::ColumnNorms(int64_t width, at::Device device) : squares_(at::zeros({width}, fp64(device))) {}

void ColumnNorms::add(const at::Tensor& X) { squares_ += rows_of(X, squares_.size(0)).square().sum(0); }

at::Tensor ColumnNorms::norms() const { return squares_.sqrt().to(at::kFloat); }

Gram::Gram(int64_t width, at::Device device) : sum_(at::zeros({width, width}, fp64(device))) {}

void Gram::add(const at::Tensor& X) {
  const int64_t width = sum_.size(0);
  const at::Tensor rows = rows_of(X, width);
  const at::Tensor columns =
      rows.t().contiguous();  // (width, tokens): both factors of a product run along memory
  const int64_t step = block_columns(width);
  for (int64_t i = 0; i < width; i += step) {
    const int64_t n = std::min(step, width - i);
    // row block i times everything from column i on
    const at::Tensor product = at::mm(columns.narrow(0, i, n), rows.narrow(1, i, width - i));
    sum_.narrow(0, i, n).narrow(1, i, width - i) += product;
    if (i + n < width) {
      sum_.narrow(0, i + n, width - i - n).narrow(1, i, n) += product.narrow(1, n, width - i - n).t();
    }
  }
  tokens_ += rows.size(0);
}

CrossGram::CrossGram(int64_t width, at::Device device) : sum_(at::zeros({width, width}, fp64(device))) {}

void CrossGram::add(const at::Tensor& X, const at::Tensor& Y) {
  const int64_t width = sum_.size(0);
  sum_ += at::mm(rows_of(X, width).t(), rows_of(Y, width));
}

}  // namespace freelunch::statistics
