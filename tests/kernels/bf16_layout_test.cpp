#include "freelunch/kernels/bf16_layout.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

/// Both implementations are compared with plain loops.
class Bf16LayoutTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    layout_ = GetParam() ? avx512_bf16_layout() : &portable_bf16_layout();
    if (layout_ == nullptr) GTEST_SKIP() << "no AVX-512 with bf16 here";
  }
  const Bf16Layout* layout_ = nullptr;
};

TEST_P(Bf16LayoutTest, MovesEveryEntryAndNothingElse) {
  for (const auto& [n, width] : {std::pair<int64_t, int64_t>{1, 2}, {7, 10}, {16, 32}, {33, 34}, {70, 64}}) {
    const int64_t stride = width + 3;
    const std::vector<Bf16> rows = rounded(numbers(n * stride, 1));
    std::vector<uint32_t> words(at(width / 2 * n) + 1, kUntouched);
    layout_->transpose_to_vnni(n, width, {rows.data(), stride}, words.data());
    const int64_t to_stride = (n + 1) / 2 * 2 + 4;
    std::vector<Bf16> columns(at(width * to_stride), kUntouched);
    layout_->transpose(n, width, {rows.data(), stride}, {columns.data(), to_stride});
    for (int64_t c = 0; c < width; ++c) {
      for (int64_t r = 0; r < n; ++r) {
        const uint32_t word = words[at(c / 2 * n + r)];
        ASSERT_EQ(c % 2 == 0 ? low(word) : high(word), rows[at(r * stride + c)]) << r << ", " << c;
        ASSERT_EQ(columns[at(c * to_stride + r)], rows[at(r * stride + c)]) << r << ", " << c;
      }
      for (int64_t r = n; r < to_stride; ++r)
        ASSERT_EQ(columns[at(c * to_stride + r)], r == n && n % 2 != 0 ? 0 : kUntouched) << r << ", " << c;
    }
    EXPECT_EQ(words.back(), kUntouched);
  }
}

TEST_P(Bf16LayoutTest, TransposesWithAFactorForEachRow) {
  for (const auto& [n, width] : {std::pair<int64_t, int64_t>{1, 1}, {5, 18}, {128, 64}}) {
    const int64_t from_stride = n + 5;
    const int64_t stride = width + 7;
    const std::vector<float> from = numbers(width * from_stride, 2);
    const std::vector<float> factor = numbers(n, 3);
    std::vector<Bf16> rows(at(n * stride), kUntouched);
    layout_->transpose_scaled(n, width, {from.data(), from_stride}, factor.data(), {rows.data(), stride});
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < stride; ++c)
        ASSERT_EQ(rows[at(r * stride + c)],
                  c < width ? to_bf16(from[at(c * from_stride + r)] * factor[at(r)]) : kUntouched);
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, Bf16LayoutTest, ::testing::Values(false, true),
                         [](const auto& set) { return set.param ? "Avx512" : "Portable"; });

TEST(ToVnni, PairsConsecutiveRowsAndAddsARowOfZerosIfTheirNumberIsOdd) {
  for (const auto& [n, width] : {std::pair<int64_t, int64_t>{1, 3}, {4, 17}, {7, 32}}) {
    const int64_t stride = width + 5;
    const std::vector<Bf16> rows = rounded(numbers(n * stride, 1));
    std::vector<uint32_t> words(at((n + 1) / 2 * width) + 1, kUntouched);
    to_vnni(n, width, {rows.data(), stride}, words.data());
    for (int64_t r = 0; r < (n + 1) / 2 * 2; ++r) {
      for (int64_t c = 0; c < width; ++c) {
        const uint32_t word = words[at(r / 2 * width + c)];
        ASSERT_EQ(r % 2 == 0 ? low(word) : high(word), r < n ? rows[at(r * stride + c)] : 0)
            << r << ", " << c;
      }
    }
    EXPECT_EQ(words.back(), kUntouched);
  }
}

}  // namespace
}  // namespace freelunch::kernels
