#include "freelunch/statistics/gram.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::statistics {
namespace {

TEST(Gram, IsXTransposedXOverAllBatchesForWidthsOfSeveralBlocks) {
  at::manual_seed(0);
  for (const int64_t width : {3, 200, 500, 777}) {
    const at::Tensor X = at::randn({2, 40, width});
    Gram gram(width, at::kCPU);
    gram.add(X[0]);
    gram.add(X[1].to(at::kBFloat16));
    const at::Tensor a = X[0].to(at::kDouble);
    const at::Tensor b = X[1].to(at::kBFloat16).to(at::kDouble);
    const at::Tensor expected = at::mm(a.t(), a) + at::mm(b.t(), b);
    EXPECT_LT((gram.sum() - expected).abs().max().item<double>(), 1e-3);
    EXPECT_TRUE(at::equal(gram.sum(), gram.sum().t()));
    EXPECT_TRUE(at::equal(gram.sum(at::kFloat), gram.sum().to(at::kFloat)));
    EXPECT_TRUE(at::equal(gram.diagonal(), gram.sum().diagonal()));
    EXPECT_LE(Gram::bytes(width), width * (width + 256) / 2 * 8);
    EXPECT_EQ(gram.tokens(), 80);
    Gram in_fp32(width, at::kCPU, at::kFloat);
    in_fp32.add(X[0]);
    in_fp32.add(X[1].to(at::kBFloat16));
    EXPECT_LT((in_fp32.sum() - expected).abs().max().item<double>(), 1e-3);
    EXPECT_EQ(in_fp32.diagonal().scalar_type(), at::kDouble);
    EXPECT_EQ(2 * Gram::bytes(width, at::kFloat), Gram::bytes(width));
  }
}

TEST(Gram, OfBf16InputsOfManyTokensLosesNothingToTheirDtype) {
  at::manual_seed(1);
  const at::Tensor X = (at::randn({3, 333, 150}) * 3).to(at::kBFloat16);  // tokens and width of no round size
  Gram gram(150, at::kCPU);
  for (int64_t i = 0; i < 3; ++i) gram.add(X[i]);
  const at::Tensor rows = X.to(at::kDouble).view({-1, 150});
  const at::Tensor expected = at::mm(rows.t(), rows);
  EXPECT_LT(((gram.sum() - expected).norm() / expected.norm()).item<double>(), 1e-6);
  EXPECT_EQ(gram.tokens(), 999);
}

TEST(CrossGram, IsXTransposedY) {
  const at::Tensor X = at::tensor({1.0F, 2.0F, 3.0F, 4.0F}).view({2, 2});
  const at::Tensor Y = at::tensor({1.0F, 0.0F, 0.0F, 1.0F}).view({2, 2});
  CrossGram gram(2, at::kCPU);
  gram.add(X, Y);
  gram.add(X, Y);
  EXPECT_TRUE(at::equal(gram.sum(), at::tensor({2.0, 6.0, 4.0, 8.0}).view({2, 2}).to(at::kDouble)));
}

TEST(ColumnNorms, OfManyRowsAndColumnsInEitherDtypeEqualsDouble) {
  at::manual_seed(2);
  const at::Tensor X = at::randn({3, 67, 301});
  ColumnNorms norms(301, at::kCPU);
  norms.add(X);
  norms.add(X.to(at::kBFloat16));
  const at::Tensor squares = X.to(at::kDouble).square() + X.to(at::kBFloat16).to(at::kDouble).square();
  EXPECT_TRUE(at::allclose(norms.norms(), squares.sum(0).sum(0).sqrt().to(at::kFloat), 1e-6));
}

TEST(ColumnNorms, IsTheRootOfTheSumOfSquares) {
  ColumnNorms norms(2, at::kCPU);
  norms.add(at::tensor({3.0F, 0.0F}).view({1, 2}));
  norms.add(at::tensor({4.0F, 2.0F}).view({1, 1, 2}));
  EXPECT_TRUE(at::allclose(norms.norms(), at::tensor({5.0F, 2.0F})));
  EXPECT_THROW(norms.add(at::ones({1, 3})), Error);
}

}  // namespace
}  // namespace freelunch::statistics
