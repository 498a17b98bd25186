#include "freelunch/statistics/gram.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <vector>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/gemm/gemm_bf16.h"
#include "freelunch/kernels/attention_tiles.h"
#include "freelunch/kernels/column_sums.h"
#include "freelunch/kernels/parallel.h"

namespace freelunch::statistics {
namespace {

constexpr int64_t kPanel = 64;    // columns of a tile of H
constexpr int64_t kStored = 256;  // rows of H that are stored together; whole tiles

at::Tensor rows_of(const at::Tensor& X, int64_t width) {
  if (X.size(-1) != width)
    fail(ErrorKind::kInvalidArgument, "inputs have {} features, expected {}", X.size(-1), width);
  return X.reshape({-1, width}).to(at::kFloat);
}

/// A^T B in fp32 of rows of tokens; bf16 as it is where the device accumulates it in fp32.
at::Tensor product(const at::Tensor& A, const at::Tensor& B) {
  if (backend::of(A).mixed_mm() && A.scalar_type() == at::kBFloat16 && B.scalar_type() == at::kBFloat16)
    return at::mm(A.t(), B, at::kFloat);
  return at::mm(A.t(), B);
}

/// (tokens, width), bf16 as it is where product() takes it, else fp32.
at::Tensor factor_of(const at::Tensor& X, int64_t width) {
  if (!backend::of(X).mixed_mm() || X.scalar_type() != at::kBFloat16 || X.size(-1) != width)
    return rows_of(X, width);
  return X.reshape({-1, width});
}

/// For long sums: fp64 if the device has it.
at::TensorOptions sums_on(at::Device device) {
  return at::TensorOptions().dtype(backend::of(device).sum_dtype()).device(device);
}

int64_t panels_of(int64_t width) { return (width + kStored - 1) / kStored; }

/// Elements before a panel; full panels are each kStored columns shorter than the one before.
int64_t start_of(int64_t width, int64_t panel) {
  const int64_t above = std::min(panel * kStored, width);
  const int64_t full = above / kStored;
  return kStored * (full * width - kStored * (full * (full - 1) / 2)) +
         (above - full * kStored) * (width - full * kStored);
}

/// Copies what is above the diagonal below it.
void mirror(const at::Tensor& full) {
  const int64_t width = full.size(0);
  for (int64_t i = 0; i < width; i += kPanel) {
    const int64_t n = std::min(kPanel, width - i);
    const at::Tensor tile = full.narrow(0, i, n).narrow(1, i, n);
    tile.copy_(tile.triu() + tile.triu(1).t());
    const int64_t rest = width - i - n;
    full.narrow(0, i + n, rest).narrow(1, i, n).copy_(full.narrow(0, i, n).narrow(1, i + n, rest).t());
  }
}

}  // namespace

ColumnNorms::ColumnNorms(int64_t width, at::Device device) : squares_(at::zeros({width}, sums_on(device))) {}

void ColumnNorms::add(const at::Tensor& X) {
  const int64_t width = squares_.size(0);
  const bool bf16 = X.scalar_type() == at::kBFloat16;
  if (X.size(-1) != width || !backend::of(X).has_kernels(X.scalar_type())) {
    squares_ += rows_of(X, width).square().sum(0);
    return;
  }
  const at::Tensor rows = X.reshape({-1, width}).contiguous();
  double* sums = squares_.mutable_data_ptr<double>();
  if (bf16)
    kernels::add_column_squares(rows.size(0), width, static_cast<const kernels::Bf16*>(rows.const_data_ptr()),
                                sums);
  else
    kernels::add_column_squares(rows.size(0), width, rows.const_data_ptr<float>(), sums);
}

at::Tensor ColumnNorms::norms() const { return squares_.sqrt().to(at::kFloat); }

Gram::Gram(int64_t width, at::Device device, at::ScalarType dtype)
    : width_(width), packed_(at::zeros({start_of(width, panels())}, sums_on(device).dtype(dtype))) {}

int64_t Gram::panels() const { return panels_of(width_); }

int64_t Gram::bytes(int64_t width, at::ScalarType dtype) {
  return start_of(width, panels_of(width)) * static_cast<int64_t>(at::elementSize(dtype));
}

/// (rows, width - first row), a view.
at::Tensor Gram::panel(int64_t i) const {
  const int64_t start = start_of(width_, i);
  return packed_.narrow(0, start, start_of(width_, i + 1) - start).view({-1, width_ - i * kStored});
}

void Gram::add(const at::Tensor& X) {
  const int64_t width = width_;
  if (backend::of(X).bf16_gemm() && X.scalar_type() == at::kBFloat16 && X.size(-1) == width) {
    add_bf16(X.reshape({-1, width}).contiguous());
  } else {
    add_products(factor_of(X, width));
  }
  tokens_ += X.numel() / width;
}

void Gram::add_bf16(const at::Tensor& rows) {
  if (packed_.scalar_type() == at::kDouble)
    add_bf16(rows, packed_.mutable_data_ptr<double>());
  else
    add_bf16(rows, packed_.mutable_data_ptr<float>());
}

template <typename Sum>
void Gram::add_bf16(const at::Tensor& rows, Sum* packed) {
  const int64_t width = width_;
  const int64_t tokens = rows.size(0);
  const int64_t pairs = (tokens + 1) / 2;
  const auto* X = reinterpret_cast<const kernels::Bf16*>(rows.const_data_ptr<at::BFloat16>());
  // X^T, and X with its rows paired, a panel of columns at a time: the two sides of a bf16 product
  const int64_t stride = 2 * pairs + gemm::kApart;
  const at::Tensor column_memory = at::empty({width, stride}, rows.options());
  const at::Tensor pair_memory = at::empty({width, pairs}, rows.options().dtype(at::kInt));
  auto* columns = static_cast<kernels::Bf16*>(column_memory.mutable_data_ptr());
  auto* paired = static_cast<uint32_t*>(pair_memory.mutable_data_ptr());
  const int64_t panels = (width + kPanel - 1) / kPanel;
  kernels::parallel_for(panels, [&](int64_t panel) {
    const int64_t first = panel * kPanel;
    const int64_t n = std::min(kPanel, width - first);
    kernels::attention_tiles().transpose(tokens, n, width, X + first, stride, columns + first * stride);
    kernels::pair_rows(tokens, n, width, X + first, paired + first * pairs);
  });
  kernels::parallel_for(panels, [&](int64_t item) {
    const int64_t panel = panels - 1 - item;  // the longest first
    const int64_t first = panel * kPanel;
    const int64_t n = std::min(kPanel, width - first);
    std::array<float, kPanel * kPanel> product;
    for (int64_t row = 0; row <= first; row += kPanel) {
      const int64_t m = std::min(kPanel, width - row);
      gemm::gemm_bf16(m, n, 2 * pairs, columns + row * stride, stride, paired + first * pairs, product.data(),
                      n, false);
      const int64_t stored = row / kStored;
      const int64_t length = width - stored * kStored;
      Sum* sum =
          packed + start_of(width, stored) + (row - stored * kStored) * length + first - stored * kStored;
      for (int64_t r = 0; r < m; ++r)
        for (int64_t c = 0; c < n; ++c) sum[r * length + c] += product[static_cast<size_t>(r * n + c)];
    }
    gemm::end_bf16_gemm();
  });
}

void Gram::add_products(const at::Tensor& rows) {
  const bool copies = backend::of(rows).gemm_copies_transposed();
  const at::Tensor turned = copies ? rows.t().contiguous().t() : rows;  // contiguous along tokens
  for (int64_t i = 0; i < panels(); ++i) {
    at::Tensor sum = panel(i);
    const int64_t first = i * kStored;
    sum += product(turned.narrow(1, first, sum.size(0)), rows.narrow(1, first, sum.size(1)));
  }
}

at::Tensor Gram::sum(at::ScalarType dtype) const {
  at::Tensor full = at::empty({width_, width_}, packed_.options().dtype(dtype));
  for (int64_t i = 0; i < panels(); ++i) {
    const at::Tensor from = panel(i);
    full.narrow(0, i * kStored, from.size(0)).narrow(1, i * kStored, from.size(1)).copy_(from);
  }
  mirror(full);
  return full;
}

at::Tensor Gram::diagonal() const {
  std::vector<at::Tensor> parts;
  for (int64_t i = 0; i < panels(); ++i) parts.push_back(panel(i).diagonal());
  return at::cat(parts).to(backend::of(packed_).sum_dtype());
}

CrossGram::CrossGram(int64_t width, at::Device device) : sum_(at::zeros({width, width}, sums_on(device))) {}

void CrossGram::add(const at::Tensor& X, const at::Tensor& Y) {
  const int64_t width = sum_.size(0);
  sum_ += product(factor_of(X, width), factor_of(Y, width));
}

}  // namespace freelunch::statistics
