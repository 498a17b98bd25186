#include "freelunch/kernels/region_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

TEST(RelativeSquares, AreTheMeanRelativeErrorOfARowAndItsGradient) {
  constexpr int64_t kRows = 5, kWidth = 41;
  constexpr float kFloor = 0.5F;
  const std::vector<float> y = numbers(kRows * kWidth, 1);
  std::vector<float> t = numbers(kRows * kWidth, 2);
  std::fill_n(t.begin(), kWidth, 0.01F);  // a row below the floor
  std::vector<float> gradient(y.size());
  const double loss = relative_squares(kRows, kWidth, y.data(), t.data(), nullptr, kFloor, gradient.data());
  double expected = 0;
  for (int64_t r = 0; r < kRows; ++r) {
    double error = 0, norm = 0;
    for (int64_t i = r * kWidth; i < (r + 1) * kWidth; ++i) {
      error += (value(y[at(i)]) - value(t[at(i)])) * (value(y[at(i)]) - value(t[at(i)]));
      norm += value(t[at(i)]) * value(t[at(i)]);
    }
    norm = std::max<double>(norm, kFloor);
    expected += error / norm / kRows;
    for (int64_t i = r * kWidth; i < (r + 1) * kWidth; ++i) {
      const double slope = 2 * (value(y[at(i)]) - value(t[at(i)])) / norm / kRows;
      ASSERT_NEAR(gradient[at(i)], slope, 1e-5 * std::abs(slope) + 1e-7) << i;
    }
  }
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
  EXPECT_EQ(relative_squares(kRows, kWidth, y.data(), t.data(), nullptr, kFloor, nullptr), loss);
}

TEST(RelativeSquares, WithWeightsAreThoseOfScaledRows) {
  constexpr int64_t kRows = 4, kWidth = 37;
  const std::vector<float> y = numbers(kRows * kWidth, 1), t = numbers(kRows * kWidth, 2);
  std::vector<float> weights(at(kWidth)), scaled_y(y), scaled_t(t);
  for (int64_t i = 0; i < kWidth; ++i) weights[at(i)] = 0.25F + 0.1F * static_cast<float>(i);
  for (int64_t i = 0; i < kRows * kWidth; ++i) {
    scaled_y[at(i)] *= std::sqrt(weights[at(i % kWidth)]);
    scaled_t[at(i)] *= std::sqrt(weights[at(i % kWidth)]);
  }
  std::vector<float> gradient(y.size()), scaled(y.size());
  const double loss =
      relative_squares(kRows, kWidth, y.data(), t.data(), weights.data(), 1e-20F, gradient.data());
  const double expected =
      relative_squares(kRows, kWidth, scaled_y.data(), scaled_t.data(), nullptr, 1e-20F, scaled.data());
  EXPECT_NEAR(loss, expected, 1e-5 * expected);
  for (int64_t i = 0; i < kRows * kWidth; ++i)
    ASSERT_NEAR(gradient[at(i)], scaled[at(i)] * std::sqrt(weights[at(i % kWidth)]), 1e-5) << i;
}

}  // namespace
}  // namespace freelunch::kernels
