#include "freelunch/descent/update_sizes.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/descent/make_trainable.h"

namespace freelunch::reconstruct {
namespace {

at::Tensor pruned_matrix() {
  at::manual_seed(4);
  return at::randn({12, 20}) * (at::rand({12, 20}) > 0.4);
}

at::Tensor update_sizes(const at::Tensor& value) {
  return UpdateSizes(value, RateUnit::kRelative).times(at::ones_like(value));
}

TEST(UpdateSizes, LeaveRetainedWeightsWithAMeanSquareOfOne) {
  const at::Tensor W = pruned_matrix();
  const at::Tensor scaled = (W / update_sizes(W)).square();
  const at::Tensor retained = (W != 0).to(at::kFloat);
  EXPECT_TRUE(at::allclose(scaled.sum(1) / retained.sum(1), at::ones({12}), 0.02));
  EXPECT_TRUE(at::allclose(scaled.sum(0) / retained.sum(0), at::ones({20}), 0.02));
}

TEST(UpdateSizes, FollowRowsAndColumnsThatAreRescaled) {
  const at::Tensor W = pruned_matrix();
  const at::Tensor rows = at::rand({12, 1}) + 0.1;
  const at::Tensor columns = (at::rand({1, 20}) + 0.1) * 30;
  EXPECT_TRUE(
      at::allclose(update_sizes(W * rows * columns), update_sizes(W) * rows * columns, /*rtol=*/0.02));
}

TEST(UpdateSizes, AreFiniteAndPositiveWithoutWeights) {
  at::Tensor W = pruned_matrix();
  W.select(0, 3).zero_();
  W.select(1, 5).zero_();
  EXPECT_TRUE((update_sizes(W) > 0).logical_and(update_sizes(W).isfinite()).all().item<bool>());
  EXPECT_TRUE(at::equal(update_sizes(at::zeros({3, 4})), at::ones({3, 4})));
  EXPECT_TRUE((update_sizes(at::zeros({5})) > 0).all().item<bool>());
}

TEST(UpdateSizes, DivideWhatTheyMultiply) {
  const at::Tensor W = pruned_matrix();
  const UpdateSizes sizes(W, RateUnit::kRelative);
  EXPECT_TRUE(at::allclose(sizes.over(sizes.times(W)), W));
  const UpdateSizes ones(W, RateUnit::kAbsolute);
  EXPECT_TRUE(at::equal(ones.times(W), W) && at::equal(ones.over(W), W));
}

TEST(UpdateSizes, OfAVectorAreItsEntriesButNotTiny) {
  const at::Tensor sizes = update_sizes(at::tensor({3.0F, -4.0F, 0.0F}));
  const float rms = std::sqrt(25.0F / 3);
  EXPECT_TRUE(at::allclose(sizes, at::tensor({3.0F, 4.0F, rms / 20})));
}

/// `steps` steps at relative rate 0.01 from W, with gradient G times the weights' scale; what is trained.
at::Tensor stepped(const at::Tensor& W, const at::Tensor& scale, Trains trains) {
  const auto tensor =
      trainable("w", W * scale, W != 0, at::kFloat, {.trains = trains, .rate_unit = RateUnit::kRelative});
  at::manual_seed(5);
  const at::Tensor G = at::randn(W.sizes());
  for (int i = 0; i < 3; ++i) {
    tensor->leaf().mutable_grad() = G / scale;  // of a loss that depends on W / scale
    EXPECT_TRUE(tensor->step({}, 0.01));
  }
  return tensor->value() / scale;
}

TEST(RelativeRates, MakeTrainingIndependentOfTheScaleOfRowsAndColumns) {
  const at::Tensor W = pruned_matrix();
  const at::Tensor scale = (at::rand({12, 1}) + 0.1) * (at::rand({1, 20}) + 0.1) * 5;
  for (const Trains trains : {Trains::kRetained, Trains::kLora}) {
    const at::Tensor plain = stepped(W, at::ones_like(scale), trains);
    const at::Tensor scaled = stepped(W, scale, trains);
    EXPECT_LT((plain - scaled).norm().item<double>(), 0.03 * (plain - W).norm().item<double>());
    EXPECT_GT((plain - W).norm().item<double>(), 1e-3);
  }
}

}  // namespace
}  // namespace freelunch::reconstruct
