#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "freelunch/architecture/shape.h"
#include "freelunch/base/error.h"
#include "freelunch/structure/expert_criterion.h"
#include "freelunch/structure/refit.h"
#include "freelunch/structure/shape_search.h"
#include "freelunch/structure/unit_criterion.h"
#include "freelunch/structure/units.h"

namespace freelunch::structure {
namespace {

using model::Block;
using model::Config;
using model::WeightRole;
using testing::ElementsAre;

std::vector<int64_t> values(const at::Tensor& index) {
  return {index.const_data_ptr<int64_t>(), index.const_data_ptr<int64_t>() + index.numel()};
}

at::Tensor indices(const std::vector<int64_t>& index) { return at::tensor(index, at::kLong); }

UnitChoice choice_of(const at::Tensor& W, const at::Tensor& X, int64_t kept) {
  const at::Tensor x = X.to(at::kDouble);
  return {.W = W, .kept = kept, .H = at::mm(x.t(), x), .sums = x.sum(0), .tokens = X.size(0)};
}

TEST(Units, ColumnsOfUnitsAreConsecutive) {
  EXPECT_THAT(values(columns_of(indices({0, 2}), 3)), ElementsAre(0, 1, 2, 6, 7, 8));
}

TEST(Units, ExpertsAreRenumberedAndTheRouterFollows) {
  Block block;
  block.set(WeightRole::kRouter, at::arange(6, at::kFloat).view({3, 2}));
  for (int32_t e = 0; e < 3; ++e) {
    for (const WeightRole::Kind kind : {WeightRole::kGate, WeightRole::kUp, WeightRole::kDown})
      block.set({kind, e}, at::full({2, 2}, e, at::kFloat));
  }
  keep_experts(block, indices({0, 2}));
  EXPECT_EQ(block[WeightRole::kRouter].size(0), 2);
  EXPECT_EQ((block[{WeightRole::kUp, 1}][0][0].item<float>()), 2);
  EXPECT_FALSE((block[{WeightRole::kUp, 2}].defined()));
}

TEST(UnitCriterion, EachGroupKeepsTheSameNumber) {
  const at::Tensor W = at::tensor({1.0F, 2.0F, 3.0F, 9.0F, 8.0F, 7.0F}).unsqueeze(0);
  UnitChoice choice{.W = W, .groups = 2, .kept = 2};
  EXPECT_THAT(values(choose_units(magnitude(), choice)), ElementsAre(2, 3));
  choice.groups = 1;
  EXPECT_THAT(values(choose_units(magnitude(), choice)), ElementsAre(3, 4));
}

TEST(UnitCriterion, ObsKeepsQuotasOfGroupsOfColumnsAndOfBlocks) {
  const at::Tensor W = at::randn({5, 12});
  for (const int64_t size : {1, 2}) {
    UnitChoice choice = choice_of(W, at::randn({40, 12}), 4);
    choice.size = size;
    choice.groups = 2;
    const std::vector<int64_t> kept = values(choose_units(obs(), choice));
    const int64_t half = choice.units() / 2;
    EXPECT_EQ(std::count_if(kept.begin(), kept.end(), [&](int64_t u) { return u < half; }), 2);
    EXPECT_EQ(kept.size(), 4);
  }
}

TEST(UnitCriterion, ObsRemovesWhatOtherColumnsCanReplace) {
  at::Tensor X = at::randn({200, 4});
  X.select(1, 3).copy_(X.select(1, 0) * 2);  // the last input is the first one, twice as large
  at::Tensor W = at::ones({3, 4});
  W.select(1, 3).fill_(5);  // so its weight looks the most important
  const UnitChoice choice = choice_of(W, X, 3);
  const std::vector<int64_t> kept = values(choose_units(obs(), choice));
  EXPECT_THAT(kept, testing::Contains(1));
  EXPECT_THAT(kept, testing::Contains(2));
}

TEST(UnitCriterion, AnImpossibleChoiceIsRefused) {
  const at::Tensor W = at::ones({1, 6});
  EXPECT_THROW(choose_units(magnitude(), {.W = W, .kept = 0}), Error);
  EXPECT_THROW(choose_units(magnitude(), {.W = W, .kept = 7}), Error);
  EXPECT_THROW(choose_units(magnitude(), {.W = W, .groups = 2, .kept = 3}), Error);
  EXPECT_THROW(choose_units(wanda(), {.W = W, .kept = 3}), Error);
}

/// Moments of inputs X and targets Y, (tokens, in) and (tokens, out).
ConsumerMoments moments(const at::Tensor& X, const at::Tensor& Y) {
  const at::Tensor x = X.to(at::kDouble);
  const at::Tensor y = Y.to(at::kDouble);
  return {.H = at::mm(x.t(), x),
          .sums = x.sum(0),
          .B = at::mm(y.t(), x),
          .targets = y.sum(0),
          .squares = y.square().sum(0),
          .tokens = X.size(0)};
}

TEST(Refit, WithAnInterceptItIsLeastSquaresWithAColumnOfOnes) {
  const at::Tensor X = at::randn({300, 6}) + 1;
  const at::Tensor W = at::randn({4, 6});
  const at::Tensor Y = at::mm(X, W.t()) + 0.3 * at::randn({300, 4}) + 2;
  const at::Tensor kept = indices({0, 2, 5});
  const Refitted fitted =
      refit(W, kept, moments(X, Y), moments(X, Y), at::ones({4}), {.lambdas = {1e-9}, .intercept = true});
  const at::Tensor design = at::cat({X.index_select(1, kept), at::ones({300, 1})}, 1);
  const at::Tensor expected = std::get<0>(at::linalg_lstsq(design, Y));  // (kept + 1, out)
  EXPECT_TRUE(at::allclose(fitted.W, expected.narrow(0, 0, 3).t(), 1e-3, 1e-4));
  EXPECT_TRUE(at::allclose(fitted.bias, expected[3], 1e-3, 1e-4));
  const double error =
      (at::mm(design, expected) - Y).square().sum().item<double>() / Y.square().sum().item<double>();
  EXPECT_NEAR(fitted.after, error, 1e-5);
  EXPECT_LT(fitted.after, fitted.before);
}

TEST(Refit, WithoutARefitTheBiasTakesUpTheMeanOfWhatIsRemoved) {
  const at::Tensor X = at::randn({100, 4}) + at::tensor({0.0F, 3.0F, 0.0F, -1.0F});
  const at::Tensor W = at::randn({2, 4});
  const at::Tensor kept = indices({0, 2});
  const ConsumerMoments local = moments(X, at::mm(X, W.t()));
  const Refitted result = keep_columns(W, kept, local, local, at::ones({2}), /*intercept=*/true);
  const at::Tensor removed =
      at::mv(W.index_select(1, indices({1, 3})), X.mean(0).index_select(0, indices({1, 3})));
  EXPECT_TRUE(at::allclose(result.bias, removed, 1e-4, 1e-5));
  EXPECT_TRUE(at::equal(result.W, W.index_select(1, kept)));
}

TEST(Refit, AFitThatHeldOutTokensRefuteIsNotTaken) {
  const at::Tensor W = at::randn({3, 5});
  const at::Tensor X = at::randn({50, 5});
  const at::Tensor held = at::randn({400, 5});
  // on the held-out tokens the kept columns as they are give exactly what is wanted
  const at::Tensor kept = indices({0, 1, 2});
  const at::Tensor target = at::mm(held.index_select(1, kept), W.index_select(1, kept).t());
  const Refitted result = refit(W, kept, moments(X, at::randn({50, 3}) * 5), moments(held, target),
                                at::ones({3}), {.lambdas = {1e-3, 1e-1}});
  EXPECT_EQ(result.lambda, 0);
  EXPECT_TRUE(at::equal(result.W, W.index_select(1, kept)));
}

TEST(Refit, LocalMomentsAreThoseOfTheDenseConsumer) {
  const at::Tensor X = at::randn({30, 4});
  const at::Tensor W = at::randn({2, 4});
  const ConsumerMoments expected = moments(X, at::mm(X, W.t()));
  const ConsumerMoments local = ConsumerMoments::local(W, expected.H, expected.sums, 30);
  EXPECT_TRUE(at::allclose(local.B, expected.B, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(local.targets, expected.targets, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(local.squares, expected.squares, 1e-4, 1e-4));
}

TEST(Experts, ReapIsTheMeanOverAnExpertsTokens) {
  ExpertUse use(3, at::kCPU);
  use.add(0, at::tensor({0.5F, 0.25F}).unsqueeze(1), at::tensor({3.0F, 4.0F, 0.0F, 2.0F}).view({2, 2}));
  use.add(2, at::tensor({1.0F}).unsqueeze(1), at::tensor({1.0F, 0.0F}).view({1, 2}));
  EXPECT_TRUE(at::allclose(use.reap(), at::tensor({(0.5 * 5 + 0.25 * 2) / 2, 0.0, 1.0}, at::kDouble)));
  EXPECT_TRUE(at::equal(use.frequency(), at::tensor({2.0, 0.0, 1.0}, at::kDouble)));
  EXPECT_THAT(values(highest(use.reap(), 2)), ElementsAre(0, 2));
}

Config llama() {
  return {.architecture = "llama",
          .vocabulary = 1000,
          .width = 512,
          .embedding_width = 512,
          .intermediate = 2048,
          .blocks = 2,
          .heads = 8,
          .kv_heads = 4,
          .head_dim = 64};
}

TEST(ShapeSearch, EveryShapeFitsAndTheFirstKeepsTheHeads) {
  const int64_t all = parameters_of(llama());
  const auto shapes = shapes_of_size(llama(), all * 7 / 10);
  ASSERT_GE(shapes.size(), 2);
  EXPECT_EQ(shapes.front().heads, 8);
  for (const Config& shape : shapes) {
    EXPECT_LE(parameters_of(shape), all * 7 / 10);
    EXPECT_EQ(shape.intermediate % 128, 0);
  }
  EXPECT_TRUE(
      std::any_of(shapes.begin(), shapes.end(), [](const Config& shape) { return shape.blocks == 1; }));
  EXPECT_TRUE(
      std::any_of(shapes.begin(), shapes.end(), [](const Config& shape) { return shape.kv_heads == 3; }));
  Config wider = shapes.front();
  wider.intermediate += 128;
  EXPECT_GT(parameters_of(wider), all * 7 / 10);
}

TEST(ShapeSearch, ASizeThatNoShapeReachesIsRefused) {
  EXPECT_THROW(shapes_of_size(llama(), parameters_of(llama()) / 10), Error);
}

}  // namespace
}  // namespace freelunch::structure
