#include "freelunch/nn/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "as_in_double.h"
#include "freelunch/model/forward.h"
#include "tiny_block.h"

namespace freelunch::model {
namespace {

class LinearOfNormedTest : public ::testing::TestWithParam<std::tuple<at::ScalarType, bool>> {};

TEST_P(LinearOfNormedTest, GivesWeightBiasAndGainTheGradientsOfTheFormula) {
  at::manual_seed(5);
  const auto [dtype, biased] = GetParam();
  const at::Tensor z = at::randn({2, 150, 90});
  std::vector<at::Tensor> inputs{at::randn({70, 90}).to(dtype), at::randn({90})};
  if (biased) inputs.push_back(at::randn({70}).to(dtype));
  const auto ours = [&](const std::vector<at::Tensor>& t) {
    const at::Tensor x = (z * t[1].detach()).to(dtype);
    return linear_of_normed(x, t[0], t.size() > 2 ? t[2] : at::Tensor(), t[1], dtype);
  };
  const auto formula = [&](const std::vector<at::Tensor>& t) {
    const at::Tensor y = at::matmul(z.to(at::kDouble) * t[1], t[0].t());
    return t.size() > 2 ? y + t[2] : y;
  };
  EXPECT_EQ(ours(inputs).scalar_type(), dtype);
  expect_as_in_double(ours, formula, inputs, dtype == at::kFloat ? 1e-6 : 6e-3);
}

INSTANTIATE_TEST_SUITE_P(All, LinearOfNormedTest,
                         ::testing::Combine(::testing::Values(at::kBFloat16, at::kFloat), ::testing::Bool()));

Config tiny(NormKind norm) {
  Config c = tiny_config();
  c.norm = norm;
  return c;
}

/// Norms are random, too, and all is trained.
Block trained_block(const Config& c) {
  Block b = random_block(c);
  for (const WeightRole role : {WeightRole::kAttentionNorm, WeightRole::kMlpNorm}) {
    b.set(role, at::randn({c.width}));
    if (c.norm == NormKind::kLayer) b.set(bias_of(role), at::randn({c.width}));
  }
  for (const auto& [role, tensor] : b.tensors()) b.set(role, tensor.requires_grad_(true));
  return b;
}

/// Gradients of all tensors of a sublayer by a fixed loss; with x asking for its own, nothing is left out.
std::vector<at::Tensor> gradients(const Config& c, Sublayer sublayer, Block& block, const at::Tensor& x) {
  const Forward forward(c, {.dtype = at::kFloat}, x.size(1));
  at::manual_seed(8);
  const at::Tensor y = forward.forward_sublayer(block, sublayer, x);
  y.backward(at::randn(y.sizes()));
  std::vector<at::Tensor> result;
  for (const auto& [role, tensor] : block.tensors()) {
    if (sublayer_of(role) != sublayer) continue;
    EXPECT_TRUE(tensor.grad().defined());
    result.push_back(tensor.grad().clone());
    tensor.mutable_grad() = at::Tensor();
  }
  return result;
}

class NormGradientTest : public ::testing::TestWithParam<std::tuple<NormKind, Sublayer>> {};

TEST_P(NormGradientTest, IsTheSameWhetherOrNotTheStreamHasOne) {
  at::manual_seed(6);
  const auto [norm, sublayer] = GetParam();
  const Config c = tiny(norm);
  Block block = trained_block(c);
  const at::Tensor x = at::randn({2, 12, c.width});
  const Forward forward(c, {.dtype = at::kFloat}, 12);
  const Normed normed = forward.normed(block, sublayer, x);
  EXPECT_EQ(normed.through_matrices, norm != NormKind::kLayer);
  EXPECT_EQ(normed.tensor.requires_grad(), norm == NormKind::kLayer);
  const auto shortened = gradients(c, sublayer, block, x);
  const auto full = gradients(c, sublayer, block, x.clone().requires_grad_(true));
  for (size_t i = 0; i < full.size(); ++i)
    EXPECT_LT(relative_error(shortened[i], full[i].to(at::kDouble)), 1e-5) << i;
}

TEST_P(NormGradientTest, IsThatOfTheFormulaWhereAGainIsZero) {
  at::manual_seed(7);
  const auto [norm, sublayer] = GetParam();
  const Config c = tiny(norm);
  Block block = trained_block(c);
  const WeightRole role =
      sublayer == Sublayer::kAttention ? WeightRole::kAttentionNorm : WeightRole::kMlpNorm;
  at::Tensor weight = block[role].detach().clone();
  weight[3] = norm == NormKind::kRmsPlusOne ? -1.0F : 0.0F;
  block.set(role, weight.requires_grad_(true));
  const at::Tensor x = at::randn({2, 12, c.width});
  EXPECT_EQ(Forward(c, {.dtype = at::kFloat}, 12).normed(block, sublayer, x).through_matrices, false);
  const auto given = gradients(c, sublayer, block, x);
  const auto full = gradients(c, sublayer, block, x.clone().requires_grad_(true));
  for (size_t i = 0; i < full.size(); ++i) EXPECT_TRUE(at::equal(given[i], full[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(All, NormGradientTest,
                         ::testing::Combine(::testing::Values(NormKind::kRms, NormKind::kRmsPlusOne,
                                                              NormKind::kLayer),
                                            ::testing::Values(Sublayer::kAttention, Sublayer::kMlp)));

}  // namespace
}  // namespace freelunch::model
