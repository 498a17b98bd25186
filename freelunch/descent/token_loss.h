#pragma once
#include <ATen/core/TensorBody.h>

#include <string_view>

#include "freelunch/base/enum_names.h"
#include "freelunch/nn/head.h"

namespace freelunch::reconstruct {

/// What the whole model is trained on.
enum class TokenLoss {
  kKl,  ///< KL(dense model's next-token distribution, ours), in nats
  kCe   ///< -log p(next token), in nats: plain retraining
};
inline constexpr EnumNames<TokenLoss, 2> kTokenLossNames{{{TokenLoss::kKl, "kl"}, {TokenLoss::kCe, "ce"}}};
/// Throws InvalidArgument listing the names.
TokenLoss parse_token_loss(std::string_view name);
std::string_view name(TokenLoss loss);

/// A loss summed over tokens, and its gradient.
struct TokenLossResult {
  double sum = 0;
  int64_t tokens = 0;
  at::Tensor
      gradient;  ///< of sum / `divisor` by the hidden states, (tokens, d) fp32; undefined if not asked for
};

/// The loss at positions whose next token is known, made a few hundred rows of logits at a time, so that no
/// matrix of tokens x vocabulary ever exists. All on one device. hidden (tokens, d) fp32: after the final
/// norm. dense_hidden (tokens, d): the dense model's, for kl. next (tokens) int64: the token that follows,
/// for ce. divisor: what the summed gradient is divided by; 0 asks
/// for no gradient.
TokenLossResult token_loss(TokenLoss loss, const at::Tensor& hidden, const at::Tensor& dense_hidden,
                           const at::Tensor& next, const model::Head& head, double divisor);

}  // namespace freelunch::reconstruct
