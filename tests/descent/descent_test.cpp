#include "freelunch/descent/descent.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "freelunch/base/error.h"
#include "tiny_block.h"

namespace freelunch::reconstruct {
namespace {

/// x (n, l, in) -> (n, l, out), through a region that is not trained.
at::Tensor outputs_of(const Region& region, const at::Tensor& x) {
  const at::NoGradGuard no_grad;
  at::Tensor y;
  region.with_cast_weights([&](const Region::Pass& pass) { y = pass(x); });
  return y;
}

using model::ActivationStore;
using model::Block;
using model::Sublayer;
using model::WeightRole;

struct Case {
  model::Config config = tiny_config();
  Block dense, pruned;
  BlockMasks masks;
  at::Tensor inputs;

  Case() {
    at::manual_seed(0);
    dense = random_block(config);
    for (const auto& [role, W] : dense.tensors()) {
      const bool matrix = model::is_prunable(role);
      if (matrix)
        masks[role] = sparsity::select_largest(W.abs(), sparsity::Unstructured{0.5}, sparsity::Group::kRow);
      pruned.set(role, matrix ? W * masks[role].retained : W.clone());
    }
    inputs = at::randn({24, 8, config.width});
  }
};

class DescentTest : public ::testing::TestWithParam<std::tuple<Sublayer, Loss>> {};

TEST_P(DescentTest, LowersTheHeldOutLossAndLeavesRemovedWeightsExactlyZero) {
  Case c;
  const auto [sublayer, loss] = GetParam();
  const model::Forward forward(c.config, {}, 8);
  const StreamRegion target(forward, {{&c.dense, &c.masks, sublayer}});
  StreamRegion region(forward, {{&c.pruned, &c.masks, sublayer}});
  const RegionData data{.inputs = ActivationStore(c.inputs),
                        .targets = ActivationStore(outputs_of(target, c.inputs)),
                        .held_out = 4,
                        .next = {.norm = {.weight = at::ones({c.config.width})},
                                 .weights = at::linspace(0.1, 2, c.config.width)}};
  RandomStream random(0, "order");
  const RegionOutcome outcome =
      descend(region, data, {.loss = loss, .adam = {.learning_rate = 1e-2}, .epochs = 12, .batch = 4}, random,
              "region");
  EXPECT_TRUE(outcome.improved);
  EXPECT_LT(outcome.held_out_after, 0.98 * outcome.held_out_before);
  EXPECT_LT(outcome.after, 0.98 * outcome.before);
  for (const auto& [role, W] : c.pruned.tensors()) {
    if (c.masks[role].retained.defined()) sparsity::check_respected(W, c.masks[role], "W");
    EXPECT_FALSE(W.requires_grad());
  }
}

INSTANTIATE_TEST_SUITE_P(All, DescentTest,
                         ::testing::Combine(::testing::Values(Sublayer::kAttention, Sublayer::kMlp),
                                            ::testing::Values(Loss::kMse, Loss::kRelativeMse, Loss::kCosine,
                                                              Loss::kNextNorm, Loss::kReaderMse)));

TEST(Descent, TrainsAMatrixAndItsBiasOnItsOwnInput) {
  at::manual_seed(1);
  const at::Tensor W_dense = at::randn({6, 10});
  const sparsity::Mask mask =
      sparsity::select_largest(W_dense.abs(), sparsity::Unstructured{0.5}, sparsity::Group::kRow);
  at::Tensor W = W_dense * mask.retained;
  at::Tensor bias = at::zeros({6});
  MatrixRegion region(W, bias, mask, at::kFloat);
  const MatrixRegion target(W_dense, at::ones({6}), {}, at::kFloat);
  const at::Tensor X = at::matmul(at::randn({24, 8, 10}), at::randn({10, 10}));
  RandomStream random(0, "order");
  const RegionOutcome outcome = descend(
      region,
      {.inputs = ActivationStore(X), .targets = ActivationStore(outputs_of(target, X)), .held_out = 4},
      {.adam = {.learning_rate = 2e-2}, .epochs = 12, .batch = 4}, random, "matrix");
  EXPECT_LT(outcome.held_out_after, 0.9 * outcome.held_out_before);
  EXPECT_GT(bias.mean().item<double>(), 0.1);
  sparsity::check_respected(W, mask, "W");
}

TEST(Descent, TrainsBlocksOfBothSublayersAndCanLeaveNormsAlone) {
  Case c;
  const model::Forward forward(c.config, {}, 8);
  const StreamRegion target(
      forward, {{&c.dense, &c.masks, Sublayer::kAttention}, {&c.dense, &c.masks, Sublayer::kMlp}});
  StreamRegion region(forward,
                      {{&c.pruned, &c.masks, Sublayer::kAttention}, {&c.pruned, &c.masks, Sublayer::kMlp}});
  RandomStream random(0, "order");
  const RegionOutcome outcome = descend(
      region,
      {.inputs = ActivationStore(c.inputs),
       .targets = ActivationStore(outputs_of(target, c.inputs)),
       .held_out = 4},
      {.adam = {.learning_rate = 1e-2}, .epochs = 12, .batch = 4, .freeze_norms = true}, random, "block");
  EXPECT_LT(outcome.held_out_after, 0.95 * outcome.held_out_before);
  EXPECT_TRUE(at::equal(c.pruned[WeightRole::kMlpNorm], at::ones({c.config.width})));
  EXPECT_EQ(region.trained(true).size() + 2, region.trained(false).size());
}

TEST(Descent, RestoresAStartThatWasNotImproved) {
  Case c;
  const model::Forward forward(c.config, {}, 8);
  StreamRegion region(forward, {{&c.pruned, &c.masks, Sublayer::kMlp}});
  const at::Tensor before = c.pruned[WeightRole::kGate].clone();
  // On held-out windows the region already gives the target, so any step away is worse.
  RandomStream random(0, "order");
  at::Tensor disturbed = outputs_of(region, c.inputs);
  disturbed.narrow(0, 0, 20).add_(
      at::randn({20, 8, c.config.width}));  // training windows have other targets than held-out windows
  const RegionOutcome outcome = descend(
      region, {.inputs = ActivationStore(c.inputs), .targets = ActivationStore(disturbed), .held_out = 4},
      {.adam = {.learning_rate = 0.05}, .batch = 4}, random, "region");
  EXPECT_FALSE(outcome.improved);
  EXPECT_EQ(outcome.held_out_after, outcome.held_out_before);
  EXPECT_TRUE(at::equal(c.pruned[WeightRole::kGate], before));
}

TEST(Descent, NamesTheRegionAndStepOfALossThatIsNotFinite) {
  Case c;
  const model::Forward forward(c.config, {}, 8);
  StreamRegion region(forward, {{&c.pruned, &c.masks, Sublayer::kMlp}});
  const RegionData data{.inputs = ActivationStore(c.inputs),
                        .targets = ActivationStore(at::full_like(c.inputs, NAN)),
                        .held_out = 0};
  RandomStream random(0, "order");
  try {
    descend(region, data, {}, random, "blocks.7.mlp");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
    EXPECT_NE(std::string(error.what()).find("blocks.7.mlp"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("step 1"), std::string::npos);
  }
}

/// A matrix trained towards targets so large that a high enough rate overflows the loss.
struct Diverging {
  at::Tensor W_dense, W, X;
  sparsity::Mask mask;
  Diverging() {
    at::manual_seed(5);
    W_dense = at::randn({4, 6});
    mask = sparsity::select_largest(W_dense.abs(), sparsity::Unstructured{0.5}, sparsity::Group::kRow);
    W = W_dense * mask.retained;
    X = at::randn({12, 4, 6});
  }
  RegionOutcome descend(double rate, int64_t restarts) {
    MatrixRegion region(W, {}, mask, at::kFloat);
    const MatrixRegion target(W_dense, {}, {}, at::kFloat);
    RandomStream random(0, "order");
    return reconstruct::descend(
        region,
        {.inputs = ActivationStore(X), .targets = ActivationStore(outputs_of(target, X)), .held_out = 4},
        {.adam = {.learning_rate = rate}, .epochs = 1, .batch = 4, .restarts = restarts}, random,
        "blocks.2.q");
  }
};

TEST(Descent, StartsOverAtHalfTheRateWhereToldTo) {
  double rate = 1;  // the lowest power of two that overflows
  for (;; rate *= 2) {
    ASSERT_LT(rate, 1e30);
    try {
      Diverging().descend(rate, 0);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
      EXPECT_NE(std::string(error.what()).find("blocks.2.q: the "), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(" of 2"), std::string::npos) << error.what();
      break;
    }
  }
  Diverging once;
  const at::Tensor before = once.W.clone();
  EXPECT_EQ(once.descend(rate, 2).restarts, 1);
  EXPECT_TRUE(at::equal(once.W, before));  // not better than the start, which was restored
  EXPECT_EQ(Diverging().descend(rate * 2, 2).restarts, 2);
  EXPECT_THROW(Diverging().descend(rate * 4, 2), Error);
  EXPECT_EQ(Diverging().descend(rate / 2, 2).restarts, 0);
}

TEST(Descent, TriesAQuarterOfARateThatHelpedNothing) {
  const auto descend_at = [](double rate, int64_t retries, at::Tensor& W) {
    Diverging c;
    const at::Tensor reachable = c.W.clone();
    c.W.mul_(0.8);
    MatrixRegion region(c.W, {}, c.mask, at::kFloat);
    const MatrixRegion target(reachable, {}, {}, at::kFloat);
    RandomStream random(0, "order");
    const RegionOutcome outcome = descend(
        region,
        {.inputs = ActivationStore(c.X), .targets = ActivationStore(outputs_of(target, c.X)), .held_out = 4},
        {.adam = {.learning_rate = rate}, .epochs = 1, .batch = 4, .retries = retries}, random, "blocks.2.q");
    W = c.W;
    return outcome;
  };
  at::Tensor W;
  const double good = 0.05;
  ASSERT_TRUE(descend_at(good, 0, W).improved);
  EXPECT_FALSE(descend_at(good * 4096, 0, W).improved);
  EXPECT_FALSE(descend_at(good * 4096, 1, W).improved);
  const RegionOutcome outcome = descend_at(good * 4096, 6, W);
  EXPECT_TRUE(outcome.improved);
  EXPECT_LT(outcome.held_out_after, outcome.held_out_before);
  EXPECT_EQ(outcome.learning_rate, good * 4096 / std::pow(4, outcome.retries));
  at::Tensor alone;  // as if the lower rate had been the first
  EXPECT_EQ(descend_at(outcome.learning_rate, 0, alone).held_out_after, outcome.held_out_after);
  EXPECT_TRUE(at::equal(alone, W));
}

TEST(Descent, NamesAGradientThatIsNotFinite) {
  // finite outputs and loss, but the gradient by W overflows: it sums products of numbers near the maximum of
  // fp32
  at::Tensor W = at::zeros({1, 2});
  const at::Tensor X = at::full({2, 64, 2}, 3e37F);
  MatrixRegion region(W, {}, {at::ones({1, 2}, at::kBool)}, at::kFloat);
  RandomStream random(0, "order");
  try {
    descend(region, {.inputs = ActivationStore(X), .targets = ActivationStore(at::full({2, 64, 1}, 1e3F))},
            {.loss = Loss::kMse}, random, "blocks.0.down");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("blocks.0.down: the gradient is not finite at step 1"),
              std::string::npos)
        << error.what();
  }
  EXPECT_TRUE(at::equal(W, at::zeros({1, 2})));
}

TEST(Schedule, WarmsUpOverATenthAndFallsToZero) {
  EXPECT_DOUBLE_EQ(scheduled_rate(1.0, 0, 100), 0.1);
  EXPECT_DOUBLE_EQ(scheduled_rate(1.0, 9, 100), 1.0);
  EXPECT_NEAR(scheduled_rate(1.0, 55, 100), 0.5, 1e-12);
  EXPECT_NEAR(scheduled_rate(1.0, 99, 100), 1.0 / 90, 1e-12);
}

TEST(Losses, AreWhatTheirFormulasSay) {
  const at::Tensor y = at::tensor({1.0F, 1.0F, 0.0F, 2.0F}).view({2, 2});
  const at::Tensor t = at::tensor({1.0F, 0.0F, 0.0F, 1.0F}).view({2, 2});
  EXPECT_NEAR(evaluate(Loss::kMse, y, t, {}).item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(evaluate(Loss::kRelativeMse, y, t, {}).item<double>(), 1.0, 1e-6);
  EXPECT_NEAR(evaluate(Loss::kCosine, y, t, {}).item<double>(), (1 - std::sqrt(0.5)) / 2, 1e-6);
  const NextReader norm{.norm = {.epsilon = 0, .weight = at::ones({2})}};
  EXPECT_NEAR(evaluate(Loss::kNextNorm, t * 5, t, norm).item<double>(), 0, 1e-6);
  // tokens: 3 (1 - 0)^2 / 1 and 3 (2 - 1)^2 / 3 (1)^2, with weights 1 and 3
  const NextReader weighed{.weights = at::tensor({1.0F, 3.0F})};
  EXPECT_NEAR(evaluate(Loss::kReaderMse, y, t, weighed).item<double>(), (3.0 + 1.0) / 2, 1e-6);
  for (const char* text : {"mse", "relative-mse", "cosine", "next-norm", "reader-mse"})
    EXPECT_EQ(name(parse_loss(text)), text);
  EXPECT_THROW(parse_loss("l1"), Error);
}

TEST(Losses, OfOnePassAreWhatTensorsGiveInDouble) {
  at::manual_seed(2);
  const at::Tensor t = at::randn({3, 33, 70});
  const at::Tensor start = t + at::randn({3, 33, 70});
  const at::Tensor weights = at::rand({70});
  for (const bool weighed : {false, true}) {
    const Loss kind = weighed ? Loss::kReaderMse : Loss::kRelativeMse;
    at::Tensor y = start.clone().requires_grad_(true);
    at::Tensor exact = start.to(at::kDouble).requires_grad_(true);
    const at::Tensor loss = evaluate(kind, y, t, {.weights = weights}) * 3;
    const at::Tensor expected =
        evaluate(kind, exact, t.to(at::kDouble), {.weights = weights.to(at::kDouble)}) * 3;
    EXPECT_NEAR(loss.item<double>() / expected.item<double>(), 1, 1e-6);
    loss.backward();
    expected.backward();
    EXPECT_TRUE(at::allclose(y.grad().to(at::kDouble), exact.grad(), 1e-4, 1e-9));
  }
}

}  // namespace
}  // namespace freelunch::reconstruct
