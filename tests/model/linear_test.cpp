#include "model/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/forward.h"

namespace freelunch::model {
namespace {

double difference(const at::Tensor& a, const at::Tensor& exact) {
  return ((a.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

class LinearOfNormedTest : public ::testing::TestWithParam<std::tuple<at::ScalarType, bool>> {};

TEST_P(LinearOfNormedTest, GivesWeightBiasAndGainTheGradientsOfTheFormula) {
  at::manual_seed(5);
  const auto [dtype, biased] = GetParam();
  const at::Tensor z = at::randn({2, 150, 90});
  std::vector<at::Tensor> ours{at::randn({70, 90}).to(dtype), at::randn({90})};
  if (biased) ours.push_back(at::randn({70}).to(dtype));
  std::vector<at::Tensor> exact;
  for (at::Tensor& t : ours) {
    exact.push_back(t.to(at::kDouble).requires_grad_(true));
    t.requires_grad_(true);
  }
  const at::Tensor x = (z * ours[1].detach()).to(dtype);
  const at::Tensor y = linear_of_normed(x, ours[0], biased ? ours[2] : at::Tensor(), ours[1], dtype);
  at::Tensor formula = at::matmul(z.to(at::kDouble) * exact[1], exact[0].t());
  if (biased) formula = formula + exact[2];
  const double tolerance = dtype == at::kFloat ? 1e-6 : 6e-3;
  EXPECT_EQ(y.scalar_type(), dtype);
  EXPECT_LT(difference(y.detach(), formula.detach()), tolerance);
  const at::Tensor dy = at::randn(y.sizes()).to(dtype);
  y.backward(dy);
  formula.backward(dy.to(at::kDouble));
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i].grad().scalar_type(), ours[i].scalar_type());
    EXPECT_LT(difference(ours[i].grad(), exact[i].grad()), tolerance) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LinearOfNormedTest,
                         ::testing::Combine(::testing::Values(at::kBFloat16, at::kFloat), ::testing::Bool()));

Config tiny(NormKind norm) {
  Config c;
  c.architecture = "llama";
  c.vocabulary = 16;
  c.width = 32;
  c.intermediate = 48;
  c.blocks = 1;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.norm = norm;
  return c;
}

Block random_block(const Config& c) {
  const int64_t kv = c.kv_heads * c.head_dim;
  Block b;
  for (const Part part : {Part::kAttentionNorm, Part::kMlpNorm}) {
    b[part] = at::randn({c.width});
    if (c.norm == NormKind::kLayer) b[bias_of(part)] = at::randn({c.width});
  }
  b[Part::kQuery] = at::randn({c.width, c.width});
  b[Part::kKey] = at::randn({kv, c.width});
  b[Part::kValue] = at::randn({kv, c.width});
  b[Part::kOutput] = at::randn({c.width, c.width});
  b[Part::kGate] = at::randn({c.intermediate, c.width});
  b[Part::kUp] = at::randn({c.intermediate, c.width});
  b[Part::kDown] = at::randn({c.width, c.intermediate});
  for (const auto& [part, tensor] : b.tensors()) b[part] = tensor.div(3).requires_grad_(true);
  return b;
}

/// Gradients of all tensors of a half by a fixed loss; with x asking for its own, nothing is left out.
std::vector<at::Tensor> gradients(const Config& c, Half half, Block& block, const at::Tensor& x) {
  const Forward forward(c, {.dtype = at::kFloat}, x.size(1));
  at::manual_seed(8);
  const at::Tensor y = forward.half(block, half, x);
  y.backward(at::randn(y.sizes()));
  std::vector<at::Tensor> result;
  for (const auto& [part, tensor] : block.tensors()) {
    if (half_of(part) != half) continue;
    EXPECT_TRUE(tensor.grad().defined());
    result.push_back(tensor.grad().clone());
    tensor.mutable_grad() = at::Tensor();
  }
  return result;
}

class NormGradientTest : public ::testing::TestWithParam<std::tuple<NormKind, Half>> {};

TEST_P(NormGradientTest, IsTheSameWhetherOrNotTheStreamHasOne) {
  at::manual_seed(6);
  const auto [norm, half] = GetParam();
  const Config c = tiny(norm);
  Block block = random_block(c);
  const at::Tensor x = at::randn({2, 12, c.width});
  const Forward forward(c, {.dtype = at::kFloat}, 12);
  EXPECT_EQ(forward.normed(block, half, x).requires_grad(), norm == NormKind::kLayer);
  const auto shortened = gradients(c, half, block, x);
  const auto full = gradients(c, half, block, x.clone().requires_grad_(true));
  for (size_t i = 0; i < full.size(); ++i)
    EXPECT_LT(difference(shortened[i], full[i].to(at::kDouble)), 1e-5) << i;
}

TEST_P(NormGradientTest, IsThatOfTheFormulaWhereAGainIsZero) {
  at::manual_seed(7);
  const auto [norm, half] = GetParam();
  const Config c = tiny(norm);
  Block block = random_block(c);
  const Part part = half == Half::kAttention ? Part::kAttentionNorm : Part::kMlpNorm;
  at::Tensor weight = block[part].detach().clone();
  weight[3] = norm == NormKind::kRmsPlusOne ? -1.0F : 0.0F;
  block[part] = weight.requires_grad_(true);
  const at::Tensor x = at::randn({2, 12, c.width});
  const auto given = gradients(c, half, block, x);
  const auto full = gradients(c, half, block, x.clone().requires_grad_(true));
  for (size_t i = 0; i < full.size(); ++i) EXPECT_TRUE(at::equal(given[i], full[i])) << i;
}

INSTANTIATE_TEST_SUITE_P(All, NormGradientTest,
                         ::testing::Combine(::testing::Values(NormKind::kRms, NormKind::kRmsPlusOne,
                                                              NormKind::kLayer),
                                            ::testing::Values(Half::kAttention, Half::kMlp)));

}  // namespace
}  // namespace freelunch::model
