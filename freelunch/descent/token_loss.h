#pragma once
#include <ATen/core/TensorBody.h>

#include <string_view>

#include "freelunch/base/enum_names.h"
#include "freelunch/nn/head.h"

namespace freelunch::reconstruct {

/// The training loss of the whole model.
enum class TokenLoss {
  kKl,  ///< KL(q || p) in nats: q is the dense model's next-token distribution, p the trained model's
  kCe   ///< -log p(next token), in nats: plain retraining
};
inline constexpr EnumNames<TokenLoss, 2> kTokenLossNames{{{TokenLoss::kKl, "kl"}, {TokenLoss::kCe, "ce"}}};
/// Throws InvalidArgument listing the names.
TokenLoss parse_token_loss(std::string_view name);
std::string_view name(TokenLoss loss);

/// A loss summed over tokens, and its gradient.
struct TokenLossResult {
  double sum = 0;  ///< in nats
  int64_t tokens = 0;
  /// The gradient of sum / divisor with respect to the hidden states, (tokens, d) fp32. Undefined if the
  /// divisor is 0.
  at::Tensor gradient;
};

/// The loss at positions whose next token is known. Works on a few hundred rows of logits at a time, so a
/// matrix (tokens, vocabulary) never exists. All tensors are on one device. hidden (tokens, d) fp32: the
/// trained model's states after the final norm. dense_hidden (tokens, d): those of the dense model; only for
/// kKl. next (tokens) int64: the following token; only for kCe. divisor: the gradient is that of sum /
/// divisor; 0: no gradient.
TokenLossResult token_loss(TokenLoss loss, const at::Tensor& hidden, const at::Tensor& dense_hidden,
                           const at::Tensor& next, const model::Head& head, double divisor);

}  // namespace freelunch::reconstruct
