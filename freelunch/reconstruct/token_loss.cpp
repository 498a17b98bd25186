#include "reconstruct/token_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "base/error.h"

namespace freelunch::reconstruct {
namespace {

constexpr int64_t kChunk = 256;  // rows of logits at a time: 50 MB in fp32 for 49,152 tokens

/// rows (n, d) -> log probabilities (n, vocabulary) fp32
at::Tensor log_probabilities(const at::Tensor& rows, const at::Tensor& head) {
  return at::log_softmax(at::linear(rows.to(head.scalar_type()), head), -1, at::kFloat);
}

}  // namespace

TokenLoss parse_token_loss(std::string_view text) {
  if (text == "kl") return TokenLoss::kKl;
  if (text == "ce") return TokenLoss::kCe;
  fail(ErrorKind::kInvalidArgument, "loss '{}' is not known for the whole model; expected one of kl, ce",
       text);
}

std::string_view name(TokenLoss loss) { return loss == TokenLoss::kKl ? "kl" : "ce"; }

TokenLossResult token_loss(TokenLoss loss, const at::Tensor& hidden, const at::Tensor& dense_hidden,
                           const at::Tensor& next, const at::Tensor& head, double divisor) {
  const at::NoGradGuard no_grad;
  TokenLossResult result{.tokens = hidden.size(0)};
  if (divisor != 0) result.gradient = at::empty(hidden.sizes(), hidden.options().dtype(at::kFloat));
  for (int64_t i = 0; i < hidden.size(0); i += kChunk) {
    const int64_t n = std::min(kChunk, hidden.size(0) - i);
    at::Tensor log_p = log_probabilities(hidden.narrow(0, i, n), head);
    at::Tensor difference;  // becomes p - target, the gradient by the logits
    if (loss == TokenLoss::kKl) {
      const at::Tensor log_q = log_probabilities(dense_hidden.narrow(0, i, n), head);
      const at::Tensor q = log_q.exp();
      result.sum += (q * (log_q - log_p)).sum(-1).sum(at::kDouble).item<double>();
      if (divisor != 0) difference = log_p.exp_().sub_(q);
    } else {
      const at::Tensor target = next.narrow(0, i, n).unsqueeze(1);
      result.sum -= log_p.gather(1, target).sum(at::kDouble).item<double>();
      if (divisor != 0)
        difference = log_p.exp_().scatter_add_(1, target, at::full({n, 1}, -1.0, log_p.options()));
    }
    if (divisor != 0) {
      const at::Tensor gradient = at::mm(difference.mul_(1 / divisor).to(head.scalar_type()), head);
      result.gradient.narrow(0, i, n).copy_(gradient);
    }
  }
  return result;
}

}  // namespace freelunch::reconstruct
