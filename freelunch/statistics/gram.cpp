#include "freelunch/statistics/gram.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <vector>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/gemm/gemm_bf16.h"
#include "freelunch/kernels/bf16_layout.h"
#include "freelunch/kernels/column_sums.h"
#include "freelunch/kernels/parallel.h"

namespace freelunch::statistics {
namespace {

// H is symmetric, so a Gram stores only the panels of kStored rows from their first diagonal element on. For
// a width of 2 kStored + r:
//
//     +-----------------+   panel 0: kStored rows of length width
//     |     0           |
//     |-----+-----------|
//     |     |   1       |   panel 1: kStored rows of length width - kStored
//     |     |     +-----|
//     |     |     |  2  |   panel 2: r rows of length r
//     +-----+-----+-----+
//
// The panels lie one after the other, each row-major. add_bf16() computes H in tiles of kPanel x kPanel; a
// tile lies in one panel, because kStored is a multiple of kPanel.
constexpr int64_t kPanel = 64;
constexpr int64_t kStored = 256;

at::Tensor rows_of(const at::Tensor& X, int64_t width) {
  if (X.size(-1) != width)
    fail(ErrorKind::kInvalidArgument, "inputs have {} features, expected {}", X.size(-1), width);
  return X.reshape({-1, width}).to(at::kFloat);
}

/// A^T B in fp32, A (tokens, m), B (tokens, n). bf16 factors stay bf16 if the device accumulates them in
/// fp32.
at::Tensor product(const at::Tensor& A, const at::Tensor& B) {
  if (backend::of(A).mixed_mm() && A.scalar_type() == at::kBFloat16 && B.scalar_type() == at::kBFloat16)
    return at::mm(A.t(), B, at::kFloat);
  return at::mm(A.t(), B);
}

/// X as (tokens, width): bf16 if product() takes bf16, else fp32.
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

/// The number of elements before a panel, which is also where it starts. Full panels have kStored rows, each
/// panel is kStored columns narrower than the one before.
int64_t start_of(int64_t width, int64_t panel) {
  const int64_t above = std::min(panel * kStored, width);
  const int64_t full = above / kStored;
  return kStored * (full * width - kStored * (full * (full - 1) / 2)) +
         (above - full * kStored) * (width - full * kStored);
}

/// Copies the upper triangle into the lower one.
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

/// Panel i as a view (rows, width - first row).
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
  // The two sides of the GEMM H = X^T X: X^T (width, stride), and X in VNNI layout. The latter is stored
  // panel by panel of kPanel columns, so the words of columns first .. first + n - 1 are (pairs, n) from
  // first * pairs on.
  const int64_t stride = 2 * pairs + gemm::kRowPadding;
  const at::Tensor transposed_memory = at::empty({width, stride}, rows.options());
  const at::Tensor vnni_memory = at::empty({width, pairs}, rows.options().dtype(at::kInt));
  auto* transposed = static_cast<kernels::Bf16*>(transposed_memory.mutable_data_ptr());
  auto* vnni = static_cast<uint32_t*>(vnni_memory.mutable_data_ptr());
  const int64_t panels = (width + kPanel - 1) / kPanel;
  kernels::parallel_for(panels, [&](int64_t panel) {
    const int64_t first = panel * kPanel;
    const int64_t n = std::min(kPanel, width - first);
    kernels::bf16_layout().transpose(tokens, n, {X + first, width}, {transposed + first * stride, stride});
    kernels::to_vnni(tokens, n, {X + first, width}, vnni + first * pairs);
  });
  kernels::parallel_for(panels, [&](int64_t item) {
    const int64_t panel = panels - 1 - item;  // the longest column of tiles first
    const int64_t first = panel * kPanel;
    const int64_t n = std::min(kPanel, width - first);
    std::array<float, kPanel * kPanel> product;
    for (int64_t row = 0; row <= first; row += kPanel) {
      const int64_t m = std::min(kPanel, width - row);
      gemm::gemm_bf16({.m = m, .n = n, .k = 2 * pairs}, {transposed + row * stride, stride},
                      {vnni + first * pairs, n}, {product.data(), n}, kernels::Output::kReplace);
      // where tile (row, first) starts in its panel of H, whose rows have `length` elements
      const int64_t stored = row / kStored;
      const int64_t corner = stored * kStored;
      const int64_t length = width - corner;
      Sum* sum = packed + start_of(width, stored) + (row - corner) * length + (first - corner);
      for (int64_t r = 0; r < m; ++r)
        for (int64_t c = 0; c < n; ++c) sum[r * length + c] += product[static_cast<size_t>(r * n + c)];
    }
    gemm::end_bf16_gemm();
  });
}

void Gram::add_products(const at::Tensor& rows) {
  const bool copies = backend::of(rows).gemm_copies_transposed();
  const at::Tensor left = copies ? rows.t().contiguous().t() : rows;  // stored as (width, tokens)
  for (int64_t i = 0; i < panels(); ++i) {
    at::Tensor sum = panel(i);
    const int64_t first = i * kStored;
    sum += product(left.narrow(1, first, sum.size(0)), rows.narrow(1, first, sum.size(1)));
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
