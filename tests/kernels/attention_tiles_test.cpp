#include "freelunch/kernels/attention_tiles.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

/// Both implementations are compared with plain formulas.
class AttentionTilesTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    tiles_ = GetParam() ? avx512_attention_tiles() : &portable_attention_tiles();
    if (tiles_ == nullptr) GTEST_SKIP() << "no AVX-512 with bf16 here";
  }
  const AttentionTiles* tiles_ = nullptr;
};

struct Case {
  int64_t keys, queries, offset;
  int64_t elements() const { return (keys + 1) / 2 * 2 * queries; }
  bool see(int64_t k, int64_t q) const { return k < keys && k <= q + offset; }
};
/// On the diagonal, next to it and beyond it; with odd sizes.
constexpr std::array<Case, 6> kCases{Case{1, 1, 0},     Case{7, 7, 0},    Case{128, 128, 0},
                                     Case{33, 50, 128}, Case{69, 37, 32}, Case{256, 19, 237}};

/// NaN where no query sees the key: a use of it would show.
std::vector<float> scores_of(const Case& c, unsigned seed) {
  std::vector<float> scores = numbers(c.elements(), seed, 10);
  for (int64_t i = 0; i < c.elements(); ++i)
    if (!c.see(i / c.queries, i % c.queries)) scores[at(i)] = std::numeric_limits<float>::quiet_NaN();
  return scores;
}

TEST_P(AttentionTilesTest, SoftmaxRunsOverTiles) {
  constexpr float kScale = 0.25F;
  for (const Case& c : kCases) {
    std::vector<float> largest(at(c.queries), -std::numeric_limits<float>::infinity());
    std::vector<float> sum(at(c.queries), 0), rescale(at(c.queries));
    std::vector<double> top(at(c.queries), -1e9), exact(at(c.queries), 0);
    for (const unsigned seed : {4U, 5U, 6U}) {
      const std::vector<float> scores = scores_of(c, seed);
      const std::vector<float> before = largest;
      std::vector<uint32_t> weights(at(c.elements() / 2));
      tiles_->softmax({.keys = c.keys, .queries = c.queries, .offset = c.offset, .scale = kScale},
                      scores.data(), weights.data(), {.largest = largest.data(), .sum = sum.data()},
                      rescale.data());
      for (int64_t q = 0; q < c.queries; ++q) {
        const double earlier = top[at(q)];
        for (int64_t k = 0; k < c.keys; ++k)
          if (c.see(k, q)) top[at(q)] = std::max<double>(top[at(q)], kScale * scores[at(k * c.queries + q)]);
        exact[at(q)] *= std::exp(earlier - top[at(q)]);
        ASSERT_NEAR(largest[at(q)], top[at(q)], 1e-5);
        ASSERT_NEAR(rescale[at(q)], std::exp(earlier - top[at(q)]), 1e-5);
        for (int64_t k = 0; k < c.elements() / c.queries; ++k) {
          const double weight =
              c.see(k, q) ? std::exp(kScale * scores[at(k * c.queries + q)] - top[at(q)]) : 0;
          exact[at(q)] += weight;
          const uint32_t word = weights[at(k / 2 * c.queries + q)];
          ASSERT_NEAR(to_float(k % 2 == 0 ? low(word) : high(word)), weight, weight / 250 + 1e-30);
        }
        ASSERT_NEAR(sum[at(q)], exact[at(q)], 2e-5 * exact[at(q)]);
      }
    }
  }
}

TEST_P(AttentionTilesTest, SoftmaxBackwardIsItsDerivative) {
  constexpr float kScale = 0.25F;
  for (const Case& c : kCases) {
    const std::vector<float> scores = scores_of(c, 7);
    const std::vector<float> d_weights = scores_of(c, 8);
    const std::vector<float> log_sum = numbers(c.queries, 9, 5);
    const std::vector<float> delta = numbers(c.queries, 10);
    std::vector<Bf16> weights(at(c.elements()), kUntouched), d_scores(at(c.elements()), kUntouched);
    std::vector<uint32_t> words(at(c.elements() / 2), kUntouched);
    tiles_->softmax_backward(
        {.keys = c.keys, .queries = c.queries, .offset = c.offset, .scale = kScale},
        {.scores = scores.data(),
         .d_weights = d_weights.data(),
         .log_sum = log_sum.data(),
         .delta = delta.data()},
        {.weights = weights.data(), .d_scores = d_scores.data(), .d_scores_vnni = words.data()});
    for (int64_t k = 0; k < c.keys; ++k) {
      for (int64_t q = 0; q < c.queries; ++q) {
        const size_t i = at(k * c.queries + q);
        const double p = c.see(k, q) ? std::exp(kScale * scores[i] - log_sum[at(q)]) : 0;
        const double d = c.see(k, q) ? p * (d_weights[i] - delta[at(q)]) : 0;
        ASSERT_NEAR(to_float(weights[i]), p, p / 250 + 1e-30);
        ASSERT_NEAR(to_float(d_scores[i]), d, std::abs(d) / 250 + 1e-30);
        const uint32_t word = words[at(k / 2 * c.queries + q)];
        ASSERT_EQ(k % 2 == 0 ? low(word) : high(word), d_scores[i]);
      }
    }
    for (int64_t q = 0; c.keys % 2 != 0 && q < c.queries; ++q)
      ASSERT_EQ(to_float(high(words[at(c.keys / 2 * c.queries + q)])), 0);
  }
}

TEST_P(AttentionTilesTest, DotsRows) {
  for (const auto& [n, width] : {std::pair<int64_t, int64_t>{1, 2}, {5, 38}, {9, 64}}) {
    const int64_t stride = width + 4;
    const std::vector<Bf16> a = rounded(numbers(n * stride, 11));
    const std::vector<Bf16> b = rounded(numbers(n * stride, 12));
    std::vector<float> delta(at(n));
    tiles_->row_dots(n, width, stride, a.data(), b.data(), delta.data());
    for (int64_t r = 0; r < n; ++r) {
      double dot = 0;
      for (int64_t i = r * stride; i < r * stride + width; ++i)
        dot += static_cast<double>(to_float(a[at(i)])) * to_float(b[at(i)]);
      ASSERT_NEAR(delta[at(r)], dot, 1e-5 * static_cast<double>(width));
    }
  }
}

TEST_P(AttentionTilesTest, NanStaysNan) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> scores{0, nan, nan, 0};  // two keys, two queries, all seen
  std::vector<float> largest(2, -std::numeric_limits<float>::infinity()), sum(2, 0), rescale(2);
  std::vector<uint32_t> weights(2);
  tiles_->softmax({.keys = 2, .queries = 2, .offset = 1, .scale = 1}, scores.data(), weights.data(),
                  {.largest = largest.data(), .sum = sum.data()}, rescale.data());
  EXPECT_TRUE(std::isnan(sum[0]));
  EXPECT_TRUE(std::isnan(sum[1]));
}

INSTANTIATE_TEST_SUITE_P(Sets, AttentionTilesTest, ::testing::Values(false, true),
                         [](const auto& set) { return set.param ? "Avx512" : "Portable"; });

}  // namespace
}  // namespace freelunch::kernels
