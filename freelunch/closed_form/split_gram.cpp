#include "freelunch/closed_form/split_gram.h"

#include <ATen/ATen.h>

#include <algorithm>
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

}  // namespace

bool SplitGram::serves(at::Device device) { return backend::of(device).bf16_gemm(); }

SplitGram::SplitGram(const at::Tensor& matrix) : n_(matrix.size(0)), diagonal_(matrix.diagonal().clone()) {
  const at::Tensor H = matrix.contiguous();
  const float* from = H.const_data_ptr<float>();
  const int64_t pairs = even() / 2;
  high_ = at::empty({pairs, n_}, H.options().dtype(at::kInt));
  low_ = at::empty_like(high_);
  auto* high = static_cast<uint32_t*>(high_.mutable_data_ptr());
  auto* low = static_cast<uint32_t*>(low_.mutable_data_ptr());
  const std::vector<float> zeros(static_cast<size_t>(n_), 0.0F);
  kernels::parallel_for(pairs, [&](int64_t pair) {
    const float* even = from + 2 * pair * n_;
    const float* odd = 2 * pair + 1 < n_ ? even + n_ : zeros.data();
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
}

void SplitGram::multiply_rounded(int64_t rows, const Bf16* a, float* out) const {
  for (int64_t column = 0; column < n_; column += kPanel)
    multiply_panel(rows, a, {.part = high_, .column = column, .begin = 0, .end = even()}, out,
                   Output::kReplace);
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
      sums[static_cast<size_t>(block)] +=
          kernels::dot_row(n_, e, squares.get() + r * n_) + 2 * kernels::dot_row(n_, e, above.get() + r * n_);
    }
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace freelunch::reconstruct
