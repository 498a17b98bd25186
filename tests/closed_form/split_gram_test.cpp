#include "freelunch/closed_form/split_gram.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "freelunch/kernels/conjugate_gradients.h"

namespace freelunch::reconstruct {
namespace {

/// (rows, stride) of bf16 numbers as a tensor (rows, n).
at::Tensor tensor_of(const std::vector<kernels::Bf16>& numbers, int64_t rows, int64_t n, int64_t stride) {
  at::Tensor out = at::empty({rows, n}, at::kDouble);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < n; ++c)
      out[r][c] = kernels::to_float(numbers[static_cast<size_t>(r * stride + c)]);
  return out;
}

double relative(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// Widths below, equal to and above a panel, even and odd; more rows than one block.
TEST(SplitGram, ProductsAndQuadraticFormsEqualThoseInDouble) {
  if (!SplitGram::serves(at::kCPU)) GTEST_SKIP() << "no bf16 products on this machine";
  at::manual_seed(5);
  for (const int64_t n : {5, 64, 131, 192}) {
    const at::Tensor X = at::randn({300, n}) + at::randn({300, 1});
    const at::Tensor exact = at::mm(X.t(), X);
    const at::Tensor H = exact.to(at::kDouble);
    const SplitGram split(exact);
    EXPECT_TRUE(at::equal(split.diagonal(), exact.diagonal()));

    const int64_t rows = 50;
    const at::Tensor E = at::randn({rows, n});
    const auto size = static_cast<size_t>(rows * split.stride());
    const at::Tensor rest = E - E.to(at::kBFloat16).to(at::kFloat);
    std::vector<kernels::Bf16> high(size), low(size);
    for (int64_t r = 0; r < rows; ++r) {
      kernels::round_row(n, E.const_data_ptr<float>() + r * n, high.data() + r * split.stride());
      kernels::round_row(n, rest.const_data_ptr<float>() + r * n, low.data() + r * split.stride());
    }
    at::Tensor out = at::empty({rows, n});
    split.multiply(rows, high.data(), low.data(), out.mutable_data_ptr<float>());
    EXPECT_LT(relative(out, at::mm(E.to(at::kDouble), H)), 2e-5) << n;
    split.multiply_rounded(rows, high.data(), out.mutable_data_ptr<float>());
    const at::Tensor rounded = exact.to(at::kBFloat16).to(at::kDouble);
    EXPECT_LT(relative(out, at::mm(tensor_of(high, rows, n, split.stride()), rounded)), 1e-6) << n;

    const double expected = (at::mm(E.to(at::kDouble), H) * E).sum().item<double>();
    EXPECT_NEAR(split.quadratic(E) / expected, 1, 1e-3) << n;
    // numbers that bf16 represents exactly: only the error of the split remains
    const at::Tensor held = E.to(at::kBFloat16).to(at::kFloat);
    const double of_held = (at::mm(held.to(at::kDouble), H) * held).sum().item<double>();
    EXPECT_NEAR(split.quadratic(held) / of_held, 1, 1e-5) << n;
  }
}

/// One token of enormous size: products along directions that it does not see are as exact as without it.
TEST(SplitGram, IsAsExactWhereATokenOfEnormousSizeDoesNotReach) {
  if (!SplitGram::serves(at::kCPU)) GTEST_SKIP() << "no bf16 products on this machine";
  at::manual_seed(6);
  const int64_t n = 131;
  at::Tensor X = at::randn({300, n});
  const at::Tensor token = at::randn({n}) * at::pow(at::rand({n}), 4);
  X[7] = 2000 * token;
  const at::Tensor H = at::mm(X.to(at::kDouble).t(), X.to(at::kDouble));
  const SplitGram split(H.to(at::kFloat));
  EXPECT_GT(split.large_rank(), 0);
  const at::Tensor axis = token.to(at::kDouble) / token.to(at::kDouble).norm();
  at::Tensor E = at::randn({20, n}, at::kDouble);
  E = (E - at::outer(at::mv(E, axis), axis)).to(at::kFloat);
  const double expected = (at::mm(E.to(at::kDouble), H) * E).sum().item<double>();
  EXPECT_NEAR(split.quadratic(E) / expected, 1, 1e-2);
}

}  // namespace
}  // namespace freelunch::reconstruct
