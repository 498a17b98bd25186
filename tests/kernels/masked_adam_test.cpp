#include "freelunch/kernels/masked_adam.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/numbers.h"

namespace freelunch::kernels {
namespace {

/// Two whole chunks and a short one.
constexpr int64_t kWeights = 2 * RetainedBits::kChunk + 101;

/// About half of the weights, and a chunk boundary with retained weights on both sides.
struct Mask {
  std::unique_ptr<bool[]> retained = std::make_unique<bool[]>(at(kWeights));
  std::vector<int64_t> places;  // of the retained weights
  Mask() {
    const std::vector<float> draw = numbers(kWeights, 1);
    for (int64_t i = 0; i < kWeights; ++i) {
      retained[at(i)] = draw[at(i)] > 0 || std::abs(i - RetainedBits::kChunk) < 2;
      if (retained[at(i)]) places.push_back(i);
    }
  }
};

TEST(RetainedBits, CountTheRetainedWeightsBeforeEachChunk) {
  const Mask mask;
  const RetainedBits bits(mask.retained.get(), kWeights);
  EXPECT_EQ(bits.size(), kWeights);
  EXPECT_EQ(bits.chunks(), 3);
  EXPECT_EQ(bits.count(), std::ssize(mask.places));
  for (int64_t c = 0; c < 3; ++c) {
    int64_t before = 0;
    for (const int64_t place : mask.places) before += place < c * RetainedBits::kChunk ? 1 : 0;
    EXPECT_EQ(bits.first(c), before) << c;
  }
  for (int64_t i = 0; i < 3 * RetainedBits::kChunk; ++i) {
    const uint64_t word = bits.words(i / RetainedBits::kChunk)[i % RetainedBits::kChunk / 64];
    ASSERT_EQ((word >> (i % 64) & 1U) != 0, i < kWeights && mask.retained[at(i)]) << i;
  }
}

/// The numbers of Mask with edge cases at the retained places.
std::vector<float> masters_of(const Mask& mask) {
  std::vector<float> masters = numbers(kWeights, 2, 0.1F);
  const std::vector<float> edges{0.0F,        -0.0F,        1e-40F, std::nextafter(1.00390625F, 2.0F),
                                 1.00390625F, -1.01171875F, 3e38F,  1e-3F};
  for (size_t i = 0; i < edges.size(); ++i) masters[at(mask.places[i])] = edges[i];
  return masters;
}

TEST(MaskedAdam, SplitRoundsToNearestAndJoinRestoresEveryBit) {
  const Mask mask;
  const RetainedBits bits(mask.retained.get(), kWeights);
  const std::vector<float> masters = masters_of(mask);
  std::vector<Bf16> weights(at(kWeights), kUntouched);
  std::vector<int16_t> remainders(mask.places.size());
  std::vector<float> joined(at(kWeights), -1);
  split(bits, masters.data(), weights.data(), remainders.data());
  join(bits, weights.data(), remainders.data(), joined.data());
  for (int64_t i = 0; i < kWeights; ++i) {
    const float expected = mask.retained[at(i)] ? masters[at(i)] : 0.0F;
    ASSERT_EQ(std::bit_cast<uint32_t>(joined[at(i)]), std::bit_cast<uint32_t>(expected)) << i;
    ASSERT_NEAR(value(weights[at(i)]), expected, std::abs(expected) / 256 + 1e-38) << i;
  }
}

/// Plain AdamW in double on the retained weights.
struct PlainAdam {
  std::vector<double> w, first, second;
  void step(const std::vector<float>& gradients, const std::vector<int64_t>& places, const AdamStep& a) {
    for (size_t i = 0; i < places.size(); ++i) {
      const double g = gradients[at(places[i])];
      first[i] = a.beta1 * first[i] + (1 - a.beta1) * g;
      second[i] = a.beta2 * second[i] + (1 - a.beta2) * g * g;
      w[i] -= a.rate * (first[i] / a.correction1) /
              (std::sqrt(second[i] / a.correction2) + static_cast<double>(a.epsilon));
    }
  }
};

AdamStep adam_at(int step) {
  return {.rate = 0.01F,
          .beta1 = 0.9F,
          .beta2 = 0.95F,
          .epsilon = 1e-8F,
          .correction1 = static_cast<float>(1 - std::pow(0.9, step)),
          .correction2 = static_cast<float>(1 - std::pow(0.95, step))};
}

/// The training state of one dtype, and what a step of it sees.
template <typename T>
struct Trained {
  Mask mask;
  RetainedBits bits{mask.retained.get(), kWeights};
  std::vector<float> start = numbers(kWeights, 3);
  std::vector<T> weights = std::vector<T>(at(kWeights));
  std::vector<int16_t> remainders = std::vector<int16_t>(mask.places.size());
  std::vector<float> first = std::vector<float>(mask.places.size());
  std::vector<float> second = std::vector<float>(mask.places.size());

  Trained() {
    if constexpr (sizeof(T) == 2) {
      split(bits, start.data(), weights.data(), remainders.data());
    } else {
      for (const int64_t place : mask.places) weights[at(place)] = start[at(place)];
    }
  }
  bool step(const std::vector<T>& gradient, const AdamStep& adam, const UpdateSizes& sizes = {}) {
    return kernels::step(bits,
                         RetainedWeights<T>{weights.data(), remainders.data(), first.data(), second.data()},
                         gradient.data(), adam, sizes);
  }
  std::vector<float> masters() const {
    if constexpr (sizeof(T) == 4) return weights;
    std::vector<float> result(at(kWeights));
    if constexpr (sizeof(T) == 2) join(bits, weights.data(), remainders.data(), result.data());
    return result;
  }
};

template <typename T>
class MaskedAdamTest : public ::testing::Test {};
using Types = ::testing::Types<Bf16, float>;
TYPED_TEST_SUITE(MaskedAdamTest, Types);

TYPED_TEST(MaskedAdamTest, WithSizesTrainsTheWeightsDividedByThem) {
  constexpr int64_t kWidth = 13;
  std::vector<float> rows(at(kWeights / kWidth + 1)), columns(at(kWidth));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = 0.5F + 0.01F * static_cast<float>(i % 100);
  for (size_t i = 0; i < columns.size(); ++i) columns[i] = 2.0F - 0.1F * static_cast<float>(i);
  const UpdateSizes sizes{.rows = rows.data(), .columns = columns.data(), .width = kWidth};
  const auto size = [&](int64_t place) { return rows[at(place / kWidth)] * columns[at(place % kWidth)]; };
  Trained<TypeParam> trained;
  const std::vector<int64_t>& places = trained.mask.places;
  PlainAdam plain{
      .w = {}, .first = std::vector<double>(places.size()), .second = std::vector<double>(places.size())};
  for (const int64_t place : places) plain.w.push_back(trained.start[at(place)] / size(place));
  for (int step = 1; step <= 3; ++step) {
    const std::vector<TypeParam> gradient =
        in_type<TypeParam>(numbers(kWeights, 10 + static_cast<unsigned>(step)));
    std::vector<float> scaled;
    for (int64_t i = 0; i < kWeights; ++i) scaled.push_back(to_float(gradient[at(i)]) * size(i));
    ASSERT_TRUE(trained.step(gradient, adam_at(step), sizes));
    plain.step(scaled, places, adam_at(step));
  }
  const std::vector<float> masters = trained.masters();
  for (size_t i = 0; i < places.size(); ++i)
    ASSERT_NEAR(masters[at(places[i])], plain.w[i] * size(places[i]), 2e-5) << i;
}

TYPED_TEST(MaskedAdamTest, StepsRetainedWeightsAsPlainAdamDoesAndKeepsRemovedOnesZero) {
  Trained<TypeParam> trained;
  const std::vector<int64_t>& places = trained.mask.places;
  PlainAdam plain{
      .w = {}, .first = std::vector<double>(places.size()), .second = std::vector<double>(places.size())};
  for (const int64_t place : places) plain.w.push_back(trained.start[at(place)]);
  for (int step = 1; step <= 5; ++step) {
    const std::vector<TypeParam> gradient =
        in_type<TypeParam>(numbers(kWeights, 10 + static_cast<unsigned>(step)));
    std::vector<float> same;
    for (const TypeParam g : gradient) same.push_back(to_float(g));
    ASSERT_TRUE(trained.step(gradient, adam_at(step)));
    plain.step(same, places, adam_at(step));
  }
  const std::vector<float> masters = trained.masters();
  for (size_t i = 0; i < places.size(); ++i) {
    ASSERT_NEAR(masters[at(places[i])], plain.w[i], 1e-5) << i;
    ASSERT_NEAR(value(trained.weights[at(places[i])]), plain.w[i],
                sizeof(TypeParam) == 2 ? std::abs(plain.w[i]) / 250 + 1e-5 : 1e-5);
    ASSERT_NEAR(trained.first[i], plain.first[i], 1e-5);
    ASSERT_NEAR(trained.second[i], plain.second[i], 1e-5);
  }
  for (int64_t i = 0; i < kWeights; ++i) {
    if (!trained.mask.retained[at(i)]) {
      ASSERT_EQ(trained.weights[at(i)], 0) << i;
    }
  }
}

TYPED_TEST(MaskedAdamTest, ReportsAGradientThatIsNotFiniteWhereverItIs) {
  const Mask mask;
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 1e30F}) {
    for (const int64_t place : {mask.places.front(), mask.places.back()}) {
      std::vector<float> gradient = numbers(kWeights, 4);
      gradient[at(place)] = bad;  // the square of 1e30 overflows
      EXPECT_FALSE(Trained<TypeParam>().step(in_type<TypeParam>(gradient), adam_at(1)))
          << bad << ", " << place;
    }
  }
}

TYPED_TEST(MaskedAdamTest, IgnoresGradientsOfRemovedWeights) {
  Trained<TypeParam> one, other;
  std::vector<float> gradient = numbers(kWeights, 4);
  ASSERT_TRUE(one.step(in_type<TypeParam>(gradient), adam_at(1)));
  for (int64_t i = 0; i < kWeights; ++i)
    if (!one.mask.retained[at(i)]) gradient[at(i)] = std::numeric_limits<float>::quiet_NaN();
  ASSERT_TRUE(other.step(in_type<TypeParam>(gradient), adam_at(1)));
  EXPECT_EQ(one.weights, other.weights);
  EXPECT_EQ(one.second, other.second);
}

}  // namespace
}  // namespace freelunch::kernels
