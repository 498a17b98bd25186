#include "freelunch/kernels/gemm_vnni.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

class GemmVnniTest : public ::testing::TestWithParam<GemmSize> {};

TEST_P(GemmVnniTest, IsTheSumOfProductsAndTouchesNothingElse) {
  const GemmVnni gemm = avx512_gemm_vnni();
  if (gemm == nullptr) GTEST_SKIP() << "no bf16 dot products here";
  const auto [m, n, k] = GetParam();
  const int64_t a_stride = k + 6;
  const int64_t b_stride = n + 2;
  const int64_t c_stride = n + 3;
  const std::vector<Bf16> a = rounded(numbers(m * a_stride, 1));
  const std::vector<Bf16> b = rounded(numbers(k * n, 2));
  std::vector<uint32_t> words(at(k / 2 * b_stride), 0x7fc07fc0U);  // NaN between the rows
  for (int64_t i = 0; i < k; i += 2)
    for (int64_t j = 0; j < n; ++j)
      words[at(i / 2 * b_stride + j)] = b[at(i * n + j)] | static_cast<uint32_t>(b[at((i + 1) * n + j)])
                                                               << 16U;
  for (const Output output : {Output::kReplace, Output::kAdd}) {
    std::vector<float> c(at(m * c_stride), 0.25F);
    gemm(GetParam(), {a.data(), a_stride}, {words.data(), b_stride}, {c.data(), c_stride}, output);
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t j = 0; j < c_stride; ++j) {
        double expected = output == Output::kAdd || j >= n ? 0.25 : 0;
        double size = 1;
        for (int64_t i = 0; j < n && i < k; ++i) {
          const double term = value(a[at(r * a_stride + i)]) * value(b[at(i * n + j)]);
          expected += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(c[at(r * c_stride + j)], expected, 1e-6 * size) << r << ", " << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, GemmVnniTest,
                         ::testing::Values(GemmSize{1, 1, 2}, GemmSize{12, 32, 64}, GemmSize{13, 33, 2},
                                           GemmSize{25, 47, 30}, GemmSize{5, 16, 8}, GemmSize{128, 128, 64},
                                           GemmSize{64, 128, 126}, GemmSize{11, 17, 0},
                                           GemmSize{48, 64, 576}));

}  // namespace
}  // namespace freelunch::kernels
