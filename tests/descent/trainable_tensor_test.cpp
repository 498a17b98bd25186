#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "freelunch/descent/make_trainable.h"

namespace freelunch::reconstruct {
namespace {

class RetainedWeightsTest : public ::testing::TestWithParam<at::ScalarType> {};

/// Sizes that are no multiple of a chunk, a word or a vector, so that all tails are tested.
TEST_P(RetainedWeightsTest, StepsAsAdamWOnTheRetainedEntriesAloneAndLeavesRemovedOnesZero) {
  at::manual_seed(0);
  const at::Tensor retained = at::rand({37, 211}).gt(0.4);
  const at::Tensor start = at::randn({37, 211}) * retained;
  const auto tensor = trainable("W", start, retained, GetParam(), {});
  EXPECT_TRUE(at::equal(tensor->value(), start));
  EXPECT_TRUE(at::equal(tensor->leaf().detach().ne(0), retained));

  const AdamSettings settings;
  at::Tensor expected = start.masked_select(retained);
  at::Tensor first = at::zeros_like(expected);
  at::Tensor second = at::zeros_like(expected);
  const at::Tensor step = at::zeros({});
  for (int i = 0; i < 5; ++i) {
    const at::Tensor gradient = at::randn(start.sizes()).to(GetParam());
    tensor->leaf().mutable_grad() = gradient;
    tensor->step(settings, 1e-2);
    EXPECT_FALSE(tensor->leaf().grad().defined());
    step.add_(1);
    at::_fused_adamw_({expected}, {gradient.to(at::kFloat).masked_select(retained)}, {first}, {second}, {},
                      {step}, 1e-2, settings.beta1, settings.beta2, 0.0, settings.epsilon, false, false);
  }
  const at::Tensor value = tensor->value();
  EXPECT_TRUE(at::allclose(value.masked_select(retained), expected, 1e-5, 1e-7));
  EXPECT_TRUE(at::equal(value.ne(0), retained));
  EXPECT_TRUE(at::allclose(tensor->leaf().detach().to(at::kFloat), value, 1.0 / 256, 0));
  EXPECT_TRUE(at::equal(tensor->leaf().detach().ne(0), retained));
}

TEST_P(RetainedWeightsTest, AStepSaysWhetherTheGradientsOfRetainedWeightsAreFinite) {
  at::Tensor retained = at::ones({3, 1111}, at::kBool);  // more than a chunk
  retained[2][1000] = false;
  const auto stepped = [&](int64_t row, int64_t column, double gradient) {
    const auto tensor = trainable("W", at::ones(retained.sizes()), retained, GetParam(), {});
    tensor->leaf().mutable_grad() = at::full(retained.sizes(), -1e15, at::kFloat).to(GetParam());
    tensor->leaf().mutable_grad()[row][column] = gradient;
    return tensor->step({}, 1e-3);
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(stepped(0, 0, 1e15));
  EXPECT_FALSE(stepped(0, 0, 1e25));  // its square
  EXPECT_FALSE(stepped(0, 0, kInfinity));
  EXPECT_FALSE(stepped(2, 1110, -kInfinity));
  EXPECT_FALSE(stepped(1, 500, std::numeric_limits<double>::quiet_NaN()));
  EXPECT_TRUE(stepped(2, 1000, kInfinity));  // removed
}

INSTANTIATE_TEST_SUITE_P(Dtypes, RetainedWeightsTest, ::testing::Values(at::kBFloat16, at::kFloat),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(TrainableTensor, AStepOfAVectorSaysTheSameOfItsGradient) {
  const auto stepped = [](double gradient) {
    const auto tensor = trainable("norm", at::ones({7}), {}, at::kFloat, {});
    tensor->leaf().mutable_grad() = at::ones({7});
    tensor->leaf().mutable_grad()[6] = gradient;
    return tensor->step({}, 1e-3);
  };
  EXPECT_TRUE(stepped(-1e15));
  EXPECT_FALSE(stepped(1e25));  // its square
  EXPECT_FALSE(stepped(std::numeric_limits<double>::infinity()));
  EXPECT_FALSE(stepped(std::numeric_limits<double>::quiet_NaN()));
}

TEST(TrainableTensor, AStepFarBelowTheLastBitOfBf16IsNotLost) {
  const auto tensor = trainable("W", at::ones({1, 64}), {}, at::kBFloat16, {});
  for (int i = 0; i < 200; ++i) {
    tensor->leaf().mutable_grad() = at::ones({1, 64}).to(at::kBFloat16);
    tensor->step({}, 1e-4);
  }
  EXPECT_NEAR(tensor->value()[0][7].item<float>(), 1 - 200 * 1e-4, 1e-4);
}

TEST(TrainableTensor, FirstStepIsTheLearningRateAgainstTheSign) {
  const at::Tensor retained = at::tensor({1, 0, 1}).view({1, 3}).to(at::kBool);
  const auto tensor = trainable("W", at::tensor({1.0F, 0.0F, -1.0F}).view({1, 3}), retained, at::kFloat, {});
  tensor->leaf().mutable_grad() = at::tensor({0.5F, 9.0F, -0.1F}).view({1, 3});
  tensor->step({}, 0.01);
  EXPECT_TRUE(at::allclose(tensor->value(), at::tensor({0.99F, 0.0F, -0.99F}).view({1, 3}), 1e-5, 1e-6));
  EXPECT_EQ(tensor->value()[0][1].item<float>(), 0.0F);
}

}  // namespace
}  // namespace freelunch::reconstruct
