#include "freelunch/descent/token_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::reconstruct {
namespace {

class TokenLossTest : public ::testing::TestWithParam<TokenLoss> {};

/// More rows than one chunk, compared with autograd through all rows at once.
TEST_P(TokenLossTest, SumAndGradientEqualAutogradOverAllTokensAtOnce) {
  at::manual_seed(0);
  const int64_t tokens = 300;
  const at::Tensor head = at::randn({40, 12});
  const at::Tensor dense = at::randn({tokens, 12});
  const at::Tensor next = at::randint(40, {tokens}, at::kLong);
  at::Tensor hidden = at::randn({tokens, 12});
  const TokenLossResult result = token_loss(GetParam(), hidden, dense, next, head, 300.0);

  hidden.requires_grad_(true);
  const at::Tensor log_p = at::log_softmax(at::linear(hidden, head), -1);
  const at::Tensor log_q = at::log_softmax(at::linear(dense, head), -1);
  const at::Tensor loss = GetParam() == TokenLoss::kKl ? (log_q.exp() * (log_q - log_p)).sum()
                                                       : -log_p.gather(1, next.unsqueeze(1)).sum();
  (loss / 300.0).backward();
  EXPECT_NEAR(result.sum, loss.item<double>(), 1e-2);
  EXPECT_EQ(result.tokens, tokens);
  EXPECT_TRUE(at::allclose(result.gradient, hidden.grad(), 1e-3, 1e-6));
  EXPECT_FALSE(token_loss(GetParam(), hidden.detach(), dense, next, head, 0).gradient.defined());
}

TEST_P(TokenLossTest, GradientGoesThroughCappedLogits) {
  at::manual_seed(2);
  const model::Head head(at::randn({40, 12}), /*cap=*/1.5);
  const at::Tensor dense = at::randn({30, 12});
  const at::Tensor next = at::randint(40, {30}, at::kLong);
  at::Tensor hidden = at::randn({30, 12});
  const TokenLossResult result = token_loss(GetParam(), hidden, dense, next, head, 30.0);

  hidden.requires_grad_(true);
  const auto log_p = [&](const at::Tensor& h) {
    return at::log_softmax((at::linear(h, head.weight) / 1.5).tanh() * 1.5, -1);
  };
  const at::Tensor p = log_p(hidden);
  const at::Tensor q = log_p(dense);
  const at::Tensor loss =
      GetParam() == TokenLoss::kKl ? (q.exp() * (q - p)).sum() : -p.gather(1, next.unsqueeze(1)).sum();
  (loss / 30.0).backward();
  EXPECT_NEAR(result.sum, loss.item<double>(), 1e-3);
  EXPECT_TRUE(at::allclose(result.gradient, hidden.grad(), 1e-3, 1e-6));
}

INSTANTIATE_TEST_SUITE_P(Both, TokenLossTest, ::testing::Values(TokenLoss::kKl, TokenLoss::kCe),
                         [](const auto& info) { return std::string(name(info.param)); });

TEST(TokenLoss, KlOfAModelWithItselfIsZero) {
  const at::Tensor hidden = at::randn({7, 4});
  const at::Tensor head = at::randn({9, 4});
  EXPECT_NEAR(token_loss(TokenLoss::kKl, hidden, hidden, {}, head, 0).sum, 0, 1e-5);
}

TEST_P(TokenLossTest, InBf16StaysWithinItsRounding) {
  at::manual_seed(1);
  const at::Tensor head = at::randn({3000, 16}).to(at::kBFloat16);
  const at::Tensor dense = at::randn({70, 16}).to(at::kBFloat16);
  const at::Tensor next = at::randint(3000, {70}, at::kLong);
  at::Tensor hidden = at::randn({70, 16}).to(at::kBFloat16).to(at::kFloat);
  const TokenLossResult result = token_loss(GetParam(), hidden, dense, next, head, 70.0);

  hidden = hidden.to(at::kDouble).requires_grad_(true);
  const at::Tensor log_p = at::log_softmax(at::linear(hidden, head.to(at::kDouble)), -1);
  const at::Tensor log_q = at::log_softmax(at::linear(dense.to(at::kDouble), head.to(at::kDouble)), -1);
  const at::Tensor loss = GetParam() == TokenLoss::kKl ? (log_q.exp() * (log_q - log_p)).sum()
                                                       : -log_p.gather(1, next.unsqueeze(1)).sum();
  (loss / 70.0).backward();
  EXPECT_NEAR(result.sum / loss.item<double>(), 1, 1e-3);
  const at::Tensor error = result.gradient - hidden.grad();
  EXPECT_LT((error.norm() / hidden.grad().norm()).item<double>(), 1e-2);
}

TEST(TokenLoss, ParsesItsNames) {
  EXPECT_EQ(parse_token_loss("kl"), TokenLoss::kKl);
  EXPECT_EQ(parse_token_loss("ce"), TokenLoss::kCe);
  EXPECT_THROW(parse_token_loss("mse"), Error);
}

}  // namespace
}  // namespace freelunch::reconstruct
