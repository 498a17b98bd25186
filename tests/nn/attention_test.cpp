#include "freelunch/nn/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace freelunch::model {
namespace {

struct Heads {
  at::Tensor q, k, v, d;
};

Heads random_heads(int64_t n, int64_t l, int64_t heads, int64_t kv_heads, int64_t e) {
  at::manual_seed(l);
  const auto bf16 = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
  return {.q = bf16(at::randn({n, l, heads, e}) * 2),
          .k = bf16(at::randn({n, l, kv_heads, e})),
          .v = bf16(at::randn({n, l, kv_heads, e})),
          .d = bf16(at::randn({n, l, heads, e}))};
}

struct Results {
  at::Tensor y, dq, dk, dv;
};

template <typename Attention>
Results run(const Heads& heads, at::ScalarType dtype, const Attention& attention) {
  const auto leaf = [dtype](const at::Tensor& t) { return t.to(dtype, false, true).requires_grad_(true); };
  const at::Tensor q = leaf(heads.q), k = leaf(heads.k), v = leaf(heads.v);
  const at::Tensor y = attention(q, k, v, at::Tensor());
  y.backward(heads.d.to(dtype));
  return {.y = y.detach(), .dq = q.grad(), .dk = k.grad(), .dv = v.grad()};
}

/// The 1 is for gradients that are zero, as those of a lone token's scores.
double relative(const at::Tensor& a, const at::Tensor& exact) {
  const at::Tensor b = exact.to(at::kDouble);
  return ((a.to(at::kDouble) - b).norm() / (b.norm() + 1)).item<double>();
}

using Shape = std::array<int64_t, 5>;
class AttentionTest : public ::testing::TestWithParam<Shape> {};

/// Lengths below, at and beyond a tile, odd ones among them; shared and unshared key heads.
TEST_P(AttentionTest, InBf16IsAsCloseToDoubleAsATenIs) {
  const auto [n, l, heads, kv_heads, e] = GetParam();
  const Heads input = random_heads(n, l, heads, kv_heads, e);
  const Results exact = run(input, at::kDouble, reference_attention);
  const Results ours = run(input, at::kBFloat16, attention);
  EXPECT_LT(relative(ours.y, exact.y), 4e-3);
  EXPECT_LT(relative(ours.dq, exact.dq), 8e-3);
  EXPECT_LT(relative(ours.dk, exact.dk), 8e-3);
  EXPECT_LT(relative(ours.dv, exact.dv), 8e-3);
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionTest,
                         ::testing::Values(Shape{1, 1, 2, 2, 16}, Shape{2, 7, 4, 2, 16},
                                           Shape{1, 128, 3, 1, 64}, Shape{2, 129, 9, 3, 64},
                                           Shape{1, 300, 4, 4, 32}, Shape{1, 385, 2, 1, 128}));

TEST(Attention, TakesAMask) {
  const Heads heads = random_heads(1, 6, 2, 1, 8);
  const at::Tensor mask = at::eye(6).to(at::kBool);  // each position sees itself alone
  const at::Tensor y = attention(heads.q, heads.k, heads.v, mask);
  EXPECT_TRUE(at::allclose(y.to(at::kFloat), heads.v.to(at::kFloat).expand({1, 6, 2, 8}), 1e-2, 1e-2));
}

}  // namespace
}  // namespace freelunch::model
