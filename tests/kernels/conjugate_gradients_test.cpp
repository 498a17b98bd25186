#include "freelunch/kernels/conjugate_gradients.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

constexpr int64_t kWidth = 37;  // no multiple of a vector
constexpr float kShift = 0.5F;

/// A row with a random state and a mask that removes every third weight.
struct Row {
  std::unique_ptr<bool[]> retained = std::make_unique<bool[]>(at(kWidth));
  std::vector<float> dense = numbers(kWidth, 1);
  std::vector<float> inverse_diagonal = numbers(kWidth, 2);
  std::vector<float> w = numbers(kWidth, 3);
  std::vector<float> residual = numbers(kWidth, 4);
  std::vector<Bf16> direction = rounded(numbers(kWidth, 5));
  std::vector<float> image = numbers(kWidth, 6);

  Row() {
    for (int64_t i = 0; i < kWidth; ++i) {
      retained[at(i)] = i % 3 != 0;
      inverse_diagonal[at(i)] = std::abs(inverse_diagonal[at(i)]) + 0.1F;
      if (retained[at(i)]) continue;
      w[at(i)] = residual[at(i)] = 0;
      direction[at(i)] = 0;
    }
  }
  GradientRow view() {
    return {.retained = retained.get(),
            .inverse_diagonal = inverse_diagonal.data(),
            .shift = kShift,
            .w = w.data(),
            .residual = residual.data(),
            .direction = direction.data()};
  }
};

TEST(ConjugateGradients, RowsAreRoundedAndSplitIntoTwoBf16Numbers) {
  const std::vector<float> even = numbers(kWidth, 1);
  const std::vector<float> odd = numbers(kWidth, 2);
  std::vector<Bf16> nearest(at(kWidth));
  std::vector<uint32_t> high_words(at(kWidth)), low_words(at(kWidth));
  round_row(kWidth, even.data(), nearest.data());
  split_row_pair(kWidth, even.data(), odd.data(), high_words.data(), low_words.data());
  for (int64_t i = 0; i < kWidth; ++i) {
    ASSERT_EQ(nearest[at(i)], to_bf16(even[at(i)]));
    ASSERT_EQ(low(high_words[at(i)]), nearest[at(i)]);
    ASSERT_NEAR(value(low(high_words[at(i)])) + value(low(low_words[at(i)])), even[at(i)],
                std::abs(even[at(i)]) / 65536);
    ASSERT_NEAR(value(high(high_words[at(i)])) + value(high(low_words[at(i)])), odd[at(i)],
                std::abs(odd[at(i)]) / 65536);
  }
}

TEST(ConjugateGradients, StartsAtTheMaskedDenseRow) {
  Row row;
  start_row(kWidth, row.view(), row.dense.data());
  for (int64_t i = 0; i < kWidth; ++i) {
    ASSERT_EQ(row.w[at(i)], row.retained[at(i)] ? row.dense[at(i)] : 0.0F) << i;
    ASSERT_EQ(row.direction[at(i)], 0) << i;
  }
}

TEST(ConjugateGradients, TheErrorIsTheSumOfTwoBf16Numbers) {
  Row row;
  std::vector<Bf16> large(at(kWidth)), small(at(kWidth));
  error_row(kWidth, row.view(), row.dense.data(), large.data(), small.data());
  for (int64_t i = 0; i < kWidth; ++i) {
    const double error = value(row.dense[at(i)]) - value(row.w[at(i)]);
    ASSERT_NEAR(value(large[at(i)]) + value(small[at(i)]), error, std::abs(error) / 65536 + 1e-6) << i;
  }
}

TEST(ConjugateGradients, TheResidualIsThatOfTheRetainedEntries) {
  for (const bool has_extra : {false, true}) {
    Row row;
    const std::vector<float> extra = numbers(kWidth, 7);
    const double rz = residual_row(kWidth, row.view(), row.dense.data(), row.image.data(),
                                   has_extra ? extra.data() : nullptr);
    double expected_rz = 0;
    for (int64_t i = 0; i < kWidth; ++i) {
      const double r = value(row.image[at(i)]) + kShift * (value(row.dense[at(i)]) - value(row.w[at(i)])) +
                       (has_extra ? value(extra[at(i)]) : 0);
      const double expected = row.retained[at(i)] ? r : 0;
      ASSERT_NEAR(row.residual[at(i)], expected, 1e-5) << i;
      expected_rz += expected * expected * value(row.inverse_diagonal[at(i)]);
    }
    EXPECT_NEAR(rz, expected_rz, 1e-4 * expected_rz);
  }
}

TEST(ConjugateGradients, AStepGoesToTheMinimumAlongTheDirection) {
  Row row;
  const std::vector<float> w = row.w;
  const std::vector<float> residual = row.residual;
  for (int64_t i = 0; i < kWidth; ++i) row.image[at(i)] = 3 * to_float(row.direction[at(i)]);  // H = 3 I
  const double rz = step_row(kWidth, row.view(), row.image.data());
  double slope = 0, curvature = 0;
  for (int64_t i = 0; i < kWidth; ++i) {
    const double d = value(row.direction[at(i)]);
    slope += d * value(residual[at(i)]);
    curvature += d * d * (3 + kShift);
  }
  const double step = slope / curvature;
  double expected_rz = 0, along = 0;
  for (int64_t i = 0; i < kWidth; ++i) {
    const double d = value(row.direction[at(i)]);
    const double expected = row.retained[at(i)] ? value(residual[at(i)]) - step * (3 + kShift) * d : 0;
    ASSERT_NEAR(row.w[at(i)], value(w[at(i)]) + step * d, 1e-5) << i;
    ASSERT_NEAR(row.residual[at(i)], expected, 1e-5) << i;
    expected_rz += expected * expected * value(row.inverse_diagonal[at(i)]);
    along += d * value(row.residual[at(i)]);
  }
  EXPECT_NEAR(rz, expected_rz, 1e-4 * expected_rz);
  EXPECT_NEAR(along, 0, 1e-4);  // at the minimum the residual is orthogonal to the direction
}

TEST(ConjugateGradients, DoesNotStepWhereTheCurvatureIsNotPositive) {
  Row row;
  const std::vector<float> w = row.w;
  const std::vector<float> residual = row.residual;
  for (int64_t i = 0; i < kWidth; ++i) row.image[at(i)] = -3 * to_float(row.direction[at(i)]);
  step_row(kWidth, row.view(), row.image.data());
  EXPECT_EQ(row.w, w);
  EXPECT_EQ(row.residual, residual);
}

TEST(ConjugateGradients, TheNextDirectionAddsTheLastOne) {
  Row row;
  const std::vector<Bf16> before = row.direction;
  next_direction_row(kWidth, row.view(), 0.75);
  for (int64_t i = 0; i < kWidth; ++i) {
    const double expected =
        value(row.residual[at(i)]) * value(row.inverse_diagonal[at(i)]) + 0.75 * value(before[at(i)]);
    ASSERT_NEAR(value(row.direction[at(i)]), expected, std::abs(expected) / 256 + 1e-6) << i;
  }
}

TEST(ConjugateGradients, DotsRowsLongerThanOneFp32Sum) {
  constexpr int64_t kLong = 1024 + 37;
  const std::vector<float> a = numbers(kLong, 8);
  const std::vector<float> b = numbers(kLong, 9);
  double expected = 0;
  for (int64_t i = 0; i < kLong; ++i) expected += value(a[at(i)]) * value(b[at(i)]);
  EXPECT_NEAR(dot_row(kLong, a.data(), b.data()), expected, 1e-4);
}

/// All steps together solve a small system: H diagonal plus rank one, so that products are easy to form here.
TEST(ConjugateGradients, SolveTheNormalEquationsOnTheMask) {
  Row row;
  const std::vector<float> u = numbers(kWidth, 10);
  const auto times_H = [&](const auto& x) {
    double dot = 0;
    for (int64_t i = 0; i < kWidth; ++i) dot += value(u[at(i)]) * value(x[at(i)]);
    std::vector<float> y;
    for (int64_t i = 0; i < kWidth; ++i)
      y.push_back(static_cast<float>(2 * value(x[at(i)]) + value(u[at(i)]) * dot));
    return y;
  };
  for (int64_t i = 0; i < kWidth; ++i) row.inverse_diagonal[at(i)] = 1 / (2 + u[at(i)] * u[at(i)] + kShift);
  start_row(kWidth, row.view(), row.dense.data());
  const auto error = [&] {
    std::vector<float> e;
    for (int64_t i = 0; i < kWidth; ++i) e.push_back(row.dense[at(i)] - row.w[at(i)]);
    return e;
  };
  double rz = residual_row(kWidth, row.view(), row.dense.data(), times_H(error()).data(), nullptr);
  const double start = rz;
  double momentum = 0;
  for (int i = 0; i < 12; ++i) {
    next_direction_row(kWidth, row.view(), momentum);
    const double before = rz;
    rz = step_row(kWidth, row.view(), times_H(row.direction).data());
    momentum = rz / before;
  }
  ASSERT_GT(start, 0.1);
  EXPECT_LT(rz, 1e-6 * start);
  const double exact = residual_row(kWidth, row.view(), row.dense.data(), times_H(error()).data(), nullptr);
  EXPECT_LT(exact, 1e-5 * start);
  for (int64_t i = 0; i < kWidth; i += 3) ASSERT_EQ(row.w[at(i)], 0) << i;  // removed
}

TEST(ConjugateGradients, AddsTheProjectionOfARow) {
  constexpr int64_t kLong = 2051;  // more than two partial sums
  const std::vector<Bf16> a = rounded(numbers(kLong, 11));
  const std::vector<float> f = numbers(kLong, 12);
  const std::vector<float> before = numbers(kLong, 13);
  std::vector<float> out = before;
  add_projection_row(kLong, a.data(), f.data(), out.data());
  double dot = 0;
  double magnitude = 0;
  for (int64_t i = 0; i < kLong; ++i) {
    dot += value(a[at(i)]) * value(f[at(i)]);
    magnitude += std::abs(value(a[at(i)]) * value(f[at(i)]));
  }
  // sums of 1024 terms in fp32, each term and each sum rounded: the root of 1024 roundings, and a margin of
  // two
  const double rounding = 64 * std::ldexp(1.0, -24) * magnitude;
  ASSERT_LT(rounding, 1e-2);  // far below what a missing term would change
  for (int64_t i = 0; i < kLong; ++i) {
    const double expected = before[at(i)] + dot * f[at(i)];
    ASSERT_NEAR(out[at(i)], expected, rounding * std::abs(f[at(i)]) + std::ldexp(std::abs(expected) + 1, -22))
        << i;
  }
}

}  // namespace
}  // namespace freelunch::kernels
