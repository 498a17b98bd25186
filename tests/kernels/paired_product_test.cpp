#include "freelunch/kernels/paired_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <tuple>
#include <vector>

namespace freelunch::kernels {
namespace {

using Size = std::tuple<int64_t, int64_t, int64_t>;  // m, n, k

class PairedProductTest : public ::testing::TestWithParam<Size> {
 protected:
  /// Of numbers that bf16 holds exactly.
  static std::vector<Bf16> numbers(int64_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<Bf16> values(static_cast<size_t>(n));
    for (Bf16& value : values) value = to_bf16(normal(random));
    return values;
  }
};

TEST_P(PairedProductTest, IsTheSumOfProducts) {
  const PairedProduct product = avx512_paired_product();
  if (product == nullptr) GTEST_SKIP() << "no dot products of bf16 pairs here";
  const auto [m, n, k] = GetParam();
  const int64_t a_stride = k + 6;
  const int64_t c_stride = n + 3;
  const std::vector<Bf16> a = numbers(m * a_stride, 1);
  const std::vector<Bf16> b = numbers(k * n, 2);
  const int64_t b_stride = n + 2;
  std::vector<uint32_t> paired(static_cast<size_t>(k / 2 * b_stride), 0x7fc07fc0U);  // NaN between the rows
  for (int64_t p = 0; p < k; p += 2)
    for (int64_t j = 0; j < n; ++j)
      paired[static_cast<size_t>(p / 2 * b_stride + j)] =
          b[static_cast<size_t>(p * n + j)] | static_cast<uint32_t>(b[static_cast<size_t>((p + 1) * n + j)])
                                                  << 16U;
  for (const bool add : {false, true}) {
    std::vector<float> c(static_cast<size_t>(m * c_stride), 0.25F);
    product(m, n, k, a.data(), a_stride, paired.data(), b_stride, c.data(), c_stride, add);
    for (int64_t r = 0; r < m; ++r) {
      for (int64_t j = 0; j < c_stride; ++j) {
        double expected = add || j >= n ? 0.25 : 0;
        double size = 1;
        for (int64_t i = 0; j < n && i < k; ++i) {
          const double term = static_cast<double>(to_float(a[static_cast<size_t>(r * a_stride + i)])) *
                              static_cast<double>(to_float(b[static_cast<size_t>(i * n + j)]));
          expected += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(c[static_cast<size_t>(r * c_stride + j)], expected, 1e-6 * size) << r << ", " << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, PairedProductTest,
                         ::testing::Values(Size{1, 1, 2}, Size{12, 32, 64}, Size{13, 33, 2}, Size{25, 47, 30},
                                           Size{5, 16, 8}, Size{128, 128, 64}, Size{64, 128, 126},
                                           Size{11, 17, 0}, Size{48, 64, 576}));

}  // namespace
}  // namespace freelunch::kernels
