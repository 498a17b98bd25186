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
  const double loss = relative_squares(kRows, kWidth, y.data(), t.data(), kFloor, gradient.data());
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
  EXPECT_EQ(relative_squares(kRows, kWidth, y.data(), t.data(), kFloor, nullptr), loss);
}

}  // namespace
}  // namespace freelunch::kernels
