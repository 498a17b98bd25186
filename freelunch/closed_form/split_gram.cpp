#include "freelunch/closed_form/split_gram.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "freelunch/backend/backend.h"
#include "freelunch/kernels/conjugate_gradients.h"
#include "freelunch/kernels/parallel.h"

namespace freelunch::reconstruct {
namespace {

using kernels::Bf16;
using kernels::Output;

constexpr int64_t kPanel = 64;  // columns of a panel, which then stays in the L2 cache for all rows
constexpr int64_t kRows = 48;   // rows that a thread takes at a time

// A step of Cholesky's factorisation is taken while the largest diagonal element is so many times the mean.
// Most matrices of an LLM need up to 5 steps. A step costs a product 4 n operations for each row, of 2 n^2.
constexpr double kLarge = 16;
constexpr int64_t kMostLarge = 16;

/// The first steps of Cholesky's factorisation of H (n, n) with pivoting: F (k, n) so that H - F^T F has no
/// diagonal element far above the mean.
at::Tensor large_part(const at::Tensor& H, const at::Tensor& diagonal) {
  at::Tensor F = at::empty({0, H.size(0)}, H.options());
  at::Tensor rest = diagonal.to(at::kDouble);
  while (F.size(0) < kMostLarge) {
    const auto pivot = rest.argmax().item<int64_t>();
    const double largest = rest[pivot].item<double>();
    if (!(largest > kLarge * rest.mean().item<double>())) break;
    const at::Tensor above = at::mv(F.t().to(at::kDouble), F.select(1, pivot).to(at::kDouble));
    const at::Tensor row = ((H[pivot].to(at::kDouble) - above) / std::sqrt(largest)).to(at::kFloat);
    F = at::cat({F, row.unsqueeze(0)});
    rest = (rest - row.to(at::kDouble).square()).clamp_min(0);
  }
  return F.contiguous();
}

/// to (n) = row i of H - F^T F, `from` row i of H. In double: what remains may be 2^-20 of both.
void without_large_part(int64_t i, const float* from, const at::Tensor& F, float* to) {
  const int64_t n = F.size(1);
  const float* f = F.const_data_ptr<float>();
  for (int64_t j = 0; j < n; ++j) {
    double rest = from[j];
    for (int64_t k = 0; k < F.size(0); ++k) rest -= static_cast<double>(f[k * n + i]) * f[k * n + j];
    to[j] = static_cast<float>(rest);
  }
}

}  // namespace

bool SplitGram::serves(at::Device device) { return backend::of(device).bf16_gemm(); }

SplitGram::SplitGram(const at::Tensor& matrix) : n_(matrix.size(0)), diagonal_(matrix.diagonal().clone()) {
  const at::Tensor H = matrix.contiguous();
  large_ = large_part(H, diagonal_);
  const float* from = H.const_data_ptr<float>();
  const int64_t pairs = even() / 2;
  high_ = at::empty({pairs, n_}, H.options().dtype(at::kInt));
  low_ = at::empty_like(high_);
  auto* high = static_cast<uint32_t*>(high_.mutable_data_ptr());
  auto* low = static_cast<uint32_t*>(low_.mutable_data_ptr());
  kernels::parallel_for(pairs, [&](int64_t pair) {
    std::vector<float> rows(static_cast<size_t>(2 * n_), 0.0F);
    for (int64_t i = 2 * pair; i < std::min(2 * pair + 2, n_); ++i)
      without_large_part(i, from + i * n_, large_, rows.data() + (i - 2 * pair) * n_);
    const float* even = rows.data();
    const float* odd = even + n_;
    for (int64_t column = 0; column < n_; column += kPanel) {
      const int64_t width = std::min(kPanel, n_ - column);
      const int64_t to = column * pairs + pair * width;
      kernels::split_row_pair(width, even + column, odd + column, high + to, low + to);
    }
  });
}

void SplitGram::multiply_panel(int64_t rows, const Bf16* a, const Panel& panel, float* out,
                               Output output) const {
  const int64_t width = std::min(kPanel, n_ - panel.column);
  const uint32_t* words = static_cast<const uint32_t*>(panel.part.const_data_ptr()) +
                          panel.column * (even() / 2) + panel.begin / 2 * width;
  gemm::gemm_bf16({.m = rows, .n = width, .k = panel.end - panel.begin}, {a + panel.begin, stride()},
                  {words, width}, {out + panel.column, n_}, output);
}

void SplitGram::multiply(int64_t rows, const Bf16* high, const Bf16* low, float* out) const {
  for (int64_t column = 0; column < n_; column += kPanel) {
    const Panel of_high{.part = high_, .column = column, .begin = 0, .end = even()};
    const Panel of_low{.part = low_, .column = column, .begin = 0, .end = even()};
    multiply_panel(rows, high, of_high, out, Output::kReplace);
    multiply_panel(rows, low, of_high, out, Output::kAdd);
    multiply_panel(rows, high, of_low, out, Output::kAdd);
  }
  add_large_part(rows, high, out);
  add_large_part(rows, low, out);
}

void SplitGram::multiply_rounded(int64_t rows, const Bf16* a, float* out) const {
  for (int64_t column = 0; column < n_; column += kPanel)
    multiply_panel(rows, a, {.part = high_, .column = column, .begin = 0, .end = even()}, out,
                   Output::kReplace);
  add_large_part(rows, a, out);
}

void SplitGram::add_large_part(int64_t rows, const Bf16* a, float* out) const {
  const float* f = large_.const_data_ptr<float>();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t k = 0; k < large_rank(); ++k)
      kernels::add_projection_row(n_, a + r * stride(), f + k * n_, out + r * n_);
  }
}

double SplitGram::quadratic(const at::Tensor& matrix) const {
  const at::Tensor E = matrix.contiguous();
  const float* from = E.const_data_ptr<float>();
  const int64_t rows = E.size(0);
  std::vector<double> sums(static_cast<size_t>((rows + kRows - 1) / kRows));
  kernels::parallel_for(static_cast<int64_t>(sums.size()), [&](int64_t block) {
    const int64_t begin = block * kRows;
    const int64_t count = std::min(kRows, rows - begin);
    const auto rounded = std::make_unique<Bf16[]>(static_cast<size_t>(count * stride()));
    // H is symmetric: e H e^T is the part of the square blocks on the diagonal plus twice the part above them
    const auto squares = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count * n_));
    const auto above = std::make_unique<float[]>(static_cast<size_t>(count * n_));
    for (int64_t r = 0; r < count; ++r)
      kernels::round_row(n_, from + (begin + r) * n_, rounded.get() + r * stride());
    for (int64_t column = 0; column < n_; column += kPanel) {
      const int64_t end = std::min(column + kPanel, even());
      const auto add_part = [&](const at::Tensor& part, Output output) {
        const Panel square{.part = part, .column = column, .begin = column, .end = end};
        multiply_panel(count, rounded.get(), square, squares.get(), output);
        if (column == 0) return;
        const Panel higher{.part = part, .column = column, .begin = 0, .end = column};
        multiply_panel(count, rounded.get(), higher, above.get(), output);
      };
      add_part(high_, Output::kReplace);
      add_part(low_, Output::kAdd);
    }
    gemm::end_bf16_gemm();
    for (int64_t r = 0; r < count; ++r) {
      const float* e = from + (begin + r) * n_;
      double& sum = sums[static_cast<size_t>(block)];
      sum +=
          kernels::dot_row(n_, e, squares.get() + r * n_) + 2 * kernels::dot_row(n_, e, above.get() + r * n_);
      for (int64_t k = 0; k < large_rank(); ++k) {
        const double part = kernels::dot_row(n_, e, large_.const_data_ptr<float>() + k * n_);
        sum += part * part;
      }
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace freelunch::reconstruct
