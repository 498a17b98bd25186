#include "freelunch/kernels/token_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

constexpr int64_t kRows = 3;
constexpr int64_t kVocabulary = 1024 + 77;  // more terms than one fp32 sum
constexpr float kScale = 0.5F;

/// log softmax of a row, in double.
template <typename T>
std::vector<double> log_softmax(const T* row) {
  double largest = value(row[0]);
  for (int64_t i = 0; i < kVocabulary; ++i) largest = std::max(largest, value(row[i]));
  double sum = 0;
  for (int64_t i = 0; i < kVocabulary; ++i) sum += std::exp(value(row[i]) - largest);
  std::vector<double> result;
  for (int64_t i = 0; i < kVocabulary; ++i) result.push_back(value(row[i]) - largest - std::log(sum));
  return result;
}

template <typename T>
class TokenLossTest : public ::testing::Test {
 protected:
  static constexpr double kRelative = sizeof(T) == 2 ? 1.0 / 256 : 1e-5;
  const std::vector<T> logits_ = in_type<T>(numbers(kRows * kVocabulary, 1, 4));
  const std::vector<T> dense_ = in_type<T>(numbers(kRows * kVocabulary, 2, 4));
};
using Types = ::testing::Types<Bf16, float>;
TYPED_TEST_SUITE(TokenLossTest, Types);

TYPED_TEST(TokenLossTest, KlIsTheDivergenceFromTheDenseModelAndItsGradientTheDifferenceOfProbabilities) {
  std::vector<TypeParam> logits = this->logits_;
  std::vector<double> sums(kRows, -1), again(kRows, -1);
  kl_rows(kRows, kVocabulary, logits.data(), this->dense_.data(), 0.0F, sums.data());
  EXPECT_EQ(logits, this->logits_);  // without a scale nothing is overwritten
  kl_rows(kRows, kVocabulary, logits.data(), this->dense_.data(), kScale, again.data());
  EXPECT_EQ(again, sums);
  for (int64_t r = 0; r < kRows; ++r) {
    const std::vector<double> p = log_softmax(this->logits_.data() + r * kVocabulary);
    const std::vector<double> q = log_softmax(this->dense_.data() + r * kVocabulary);
    double expected = 0;
    for (int64_t i = 0; i < kVocabulary; ++i) {
      expected += std::exp(q[at(i)]) * (q[at(i)] - p[at(i)]);
      const double gradient = kScale * (std::exp(p[at(i)]) - std::exp(q[at(i)]));
      ASSERT_NEAR(value(logits[at(r * kVocabulary + i)]), gradient,
                  this->kRelative * std::abs(gradient) + 1e-7)
          << i;
    }
    EXPECT_NEAR(sums[at(r)], expected, 1e-4 * expected);
  }
}

TYPED_TEST(TokenLossTest, KlOfEqualLogitsIsZero) {
  std::vector<TypeParam> logits = this->logits_;
  std::vector<double> sums(kRows, -1);
  kl_rows(kRows, kVocabulary, logits.data(), this->logits_.data(), kScale, sums.data());
  for (const double sum : sums) EXPECT_NEAR(sum, 0, 1e-6);
  for (const TypeParam gradient : logits) ASSERT_NEAR(value(gradient), 0, 1e-7);
}

TYPED_TEST(TokenLossTest, CeIsMinusTheLogProbabilityOfTheNextToken) {
  const std::vector<int64_t> next{0, 511, kVocabulary - 1};
  std::vector<TypeParam> logits = this->logits_;
  std::vector<double> sums(kRows, -1), again(kRows, -1);
  ce_rows(kRows, kVocabulary, logits.data(), next.data(), 0.0F, sums.data());
  EXPECT_EQ(logits, this->logits_);
  ce_rows(kRows, kVocabulary, logits.data(), next.data(), kScale, again.data());
  EXPECT_EQ(again, sums);
  for (int64_t r = 0; r < kRows; ++r) {
    const std::vector<double> p = log_softmax(this->logits_.data() + r * kVocabulary);
    EXPECT_NEAR(sums[at(r)], -p[at(next[at(r)])], 1e-5 * -p[at(next[at(r)])]);
    for (int64_t i = 0; i < kVocabulary; ++i) {
      const double gradient = kScale * (std::exp(p[at(i)]) - (i == next[at(r)] ? 1 : 0));
      ASSERT_NEAR(value(logits[at(r * kVocabulary + i)]), gradient,
                  this->kRelative * std::abs(gradient) + 1e-7)
          << i;
    }
  }
}

}  // namespace
}  // namespace freelunch::kernels
