#include "freelunch/kernels/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

/// Every function in both output types, against plain loops in double.
template <typename T>
class ElementwiseTest : public ::testing::Test {
 protected:
  /// Relative rounding error of the output type.
  static constexpr double kRelative = sizeof(T) == 2 ? 1.0 / 256 : 2e-6;
  static void expect_near(double found, double expected, double size, int64_t i) {
    ASSERT_NEAR(found, expected, kRelative * std::abs(expected) + 1e-6 * size) << i;
  }
};
using Types = ::testing::Types<Bf16, float>;
TYPED_TEST_SUITE(ElementwiseTest, Types);

/// More rows than one partial sum, and widths that are no multiple of a vector.
struct Norm {
  int64_t rows, width;
};
constexpr Norm kNorms[] = {{1, 1}, {3, 17}, {70, 64}};  // NOLINT(*-avoid-c-arrays)
constexpr float kEpsilon = 1e-2F;

TYPED_TEST(ElementwiseTest, RmsNormDividesByTheRootOfTheMeanSquare) {
  for (const auto& [rows, width] : kNorms) {
    const std::vector<float> x = numbers(rows * width, 1, 0.3F);
    const std::vector<float> weight = numbers(width, 2);
    std::vector<TypeParam> y(at(rows * width));
    std::vector<float> inverse(at(rows));
    rms_norm(rows, width, x.data(), weight.data(), kEpsilon, y.data(), inverse.data());
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (int64_t i = 0; i < width; ++i)
        squares += value(x[at(r * width + i)]) * value(x[at(r * width + i)]);
      const double expected = 1 / std::sqrt(squares / static_cast<double>(width) + kEpsilon);
      ASSERT_NEAR(inverse[at(r)], expected, 1e-5 * expected);
      for (int64_t i = 0; i < width; ++i)
        TestFixture::expect_near(value(y[at(r * width + i)]), x[at(r * width + i)] * expected * weight[at(i)],
                                 1, i);
    }
  }
}

/// Central differences of sum(dy * y) in double.
double loss(const std::vector<double>& x, const std::vector<double>& weight, const std::vector<double>& dy) {
  const size_t width = weight.size();
  double sum = 0;
  for (size_t r = 0; r < x.size(); r += width) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i) squares += x[r + i] * x[r + i];
    const double inverse =
        1 / std::sqrt(squares / static_cast<double>(width) + static_cast<double>(kEpsilon));
    for (size_t i = 0; i < width; ++i) sum += dy[r + i] * x[r + i] * inverse * weight[i];
  }
  return sum;
}
double slope(std::vector<double>& x, size_t i, const std::vector<double>& a,
             const std::vector<double>& weight, const std::vector<double>& dy) {
  constexpr double kStep = 1e-4;
  const double middle = x[i];
  x[i] = middle + kStep;
  const double above = loss(a, weight, dy);
  x[i] = middle - kStep;
  const double below = loss(a, weight, dy);
  x[i] = middle;
  return (above - below) / (2 * kStep);
}

TYPED_TEST(ElementwiseTest, RmsNormBackwardIsItsDerivative) {
  for (const auto& [rows, width] : kNorms) {
    const std::vector<float> x = numbers(rows * width, 1, 0.3F);
    const std::vector<float> weight = numbers(width, 2);
    const std::vector<TypeParam> dy = in_type<TypeParam>(numbers(rows * width, 3));
    std::vector<TypeParam> y(at(rows * width));
    std::vector<float> inverse(at(rows)), dx(at(rows * width)), d_weight(at(width));
    rms_norm(rows, width, x.data(), weight.data(), kEpsilon, y.data(), inverse.data());
    rms_norm_backward(rows, width, x.data(), weight.data(), inverse.data(), dy.data(), dx.data(),
                      d_weight.data());
    std::vector<double> exact_x(x.begin(), x.end()), exact_weight(weight.begin(), weight.end()), exact_dy;
    for (const TypeParam d : dy) exact_dy.push_back(value(d));
    for (size_t i = 0; i < exact_x.size(); i += 7) {
      const double expected = slope(exact_x, i, exact_x, exact_weight, exact_dy);
      ASSERT_NEAR(dx[i], expected, 1e-4 * (std::abs(expected) + 1)) << i;
    }
    for (size_t i = 0; i < exact_weight.size(); ++i) {
      const double expected = slope(exact_weight, i, exact_x, exact_weight, exact_dy);
      ASSERT_NEAR(d_weight[i], expected, 1e-4 * (std::abs(expected) + 1)) << i;
    }
  }
}

TYPED_TEST(ElementwiseTest, RmsNormBackwardLeavesOutWhatIsNotWanted) {
  const std::vector<float> x = numbers(6, 1);
  const std::vector<float> weight = numbers(3, 2);
  const std::vector<float> inverse{0.5F, 2.0F};
  const std::vector<TypeParam> dy = in_type<TypeParam>(numbers(6, 3));
  std::vector<float> dx(6), d_weight(3), dx_alone(6), d_weight_alone(3);
  const auto backward = [&](float* to_x, float* to_weight) {
    rms_norm_backward(2, 3, x.data(), weight.data(), inverse.data(), dy.data(), to_x, to_weight);
  };
  backward(dx.data(), d_weight.data());
  backward(dx_alone.data(), nullptr);
  backward(nullptr, d_weight_alone.data());
  EXPECT_EQ(dx_alone, dx);
  EXPECT_EQ(d_weight_alone, d_weight);
}

TYPED_TEST(ElementwiseTest, RotateTurnsEachPairByItsAngleAndBack) {
  constexpr int64_t kTokens = 5, kHeads = 3, kPairs = 9, kLength = 2;  // token 2 has position 0 again
  const std::vector<float> angles = numbers(kLength * kPairs, 4);
  std::vector<float> cosines, sines;
  for (const float angle : angles) {
    cosines.push_back(std::cos(angle));
    sines.push_back(std::sin(angle));
  }
  Rotation rotation{.heads = kHeads,
                    .pairs = kPairs,
                    .length = kLength,
                    .cosines = cosines.data(),
                    .sines = sines.data(),
                    .inverse = false};
  const std::vector<TypeParam> x = in_type<TypeParam>(numbers(kTokens * kHeads * 2 * kPairs, 5));
  std::vector<TypeParam> y(x.size()), back(x.size());
  rotate(rotation, kTokens, x.data(), y.data());
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t i = 0; i < kPairs; ++i) {
        const int64_t first = (t * kHeads + h) * 2 * kPairs + i;
        const double angle = angles[at(t % kLength * kPairs + i)];
        const double a = value(x[at(first)]);
        const double b = value(x[at(first + kPairs)]);
        const double size = std::abs(a) + std::abs(b);
        TestFixture::expect_near(value(y[at(first)]), a * std::cos(angle) - b * std::sin(angle), size, first);
        TestFixture::expect_near(value(y[at(first + kPairs)]), b * std::cos(angle) + a * std::sin(angle),
                                 size, first);
      }
    }
  }
  rotation.inverse = true;
  rotate(rotation, kTokens, y.data(), back.data());
  for (size_t i = 0; i < x.size(); ++i)
    ASSERT_NEAR(value(back[i]), value(x[i]), 6 * TestFixture::kRelative) << i;
}

/// More values than one thread takes at a time.
constexpr int64_t kMany = 16384 + 21;

TYPED_TEST(ElementwiseTest, SiluProductAndItsDerivative) {
  const std::vector<TypeParam> gate = in_type<TypeParam>(numbers(kMany, 6, 3));
  const std::vector<TypeParam> up = in_type<TypeParam>(numbers(kMany, 7));
  const std::vector<TypeParam> dy = in_type<TypeParam>(numbers(kMany, 8));
  std::vector<TypeParam> y(at(kMany)), d_gate(at(kMany)), d_up(at(kMany));
  silu_product(kMany, gate.data(), up.data(), y.data());
  silu_product_backward(kMany, gate.data(), up.data(), dy.data(), d_gate.data(), d_up.data());
  for (int64_t i = 0; i < kMany; ++i) {
    const double g = value(gate[at(i)]);
    const double u = value(up[at(i)]);
    const double d = value(dy[at(i)]);
    const double sigmoid = 1 / (1 + std::exp(-g));
    const double size = std::abs(g * u * d) + std::abs(u * d) + std::abs(g);
    TestFixture::expect_near(value(y[at(i)]), g * sigmoid * u, size, i);
    TestFixture::expect_near(value(d_gate[at(i)]), d * u * sigmoid * (1 + g * (1 - sigmoid)), size, i);
    TestFixture::expect_near(value(d_up[at(i)]), d * g * sigmoid, size, i);
  }
}

TYPED_TEST(ElementwiseTest, AddBranchAddsInFp32) {
  const std::vector<float> stream = numbers(kMany, 9);
  const std::vector<TypeParam> branch = in_type<TypeParam>(numbers(kMany, 10));
  std::vector<float> y(at(kMany));
  add_branch(kMany, stream.data(), branch.data(), y.data());
  for (int64_t i = 0; i < kMany; ++i) ASSERT_EQ(y[at(i)], stream[at(i)] + to_float(branch[at(i)])) << i;
}

TEST(AddTo, AddsToWhatIsThere) {
  std::vector<float> sum{1, 2, 3};
  const std::vector<float> part{10, 20, 30};
  add_to(3, part.data(), sum.data());
  EXPECT_EQ(sum, (std::vector<float>{11, 22, 33}));
}

}  // namespace
}  // namespace freelunch::kernels
