#include "freelunch/descent/token_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/kernels/token_loss.h"

namespace freelunch::reconstruct {
namespace {

using model::kLogitRows;

/// Logits of some rows. The memory is used again for the next rows: new pages cost more than the GEMM.
class Logits {
 public:
  explicit Logits(const model::Head& head) : head_(head) {}
  /// rows (n, d), n <= kLogitRows -> (n, vocabulary) in the head's dtype
  at::Tensor of(const at::Tensor& rows) {
    if (!memory_.defined()) memory_ = at::empty({kLogitRows, head_.vocabulary()}, head_.weight.options());
    return head_.logits(rows, memory_.narrow(0, 0, rows.size(0)));
  }

 private:
  const model::Head& head_;
  at::Tensor memory_;
};

/// The loss summed over the rows of logits p (n, vocabulary), against the dense logits q, or against the next
/// tokens if q is undefined. If scale is not 0, p is overwritten with scale times the gradient. By ATen, on
/// any device.
double by_tensors(const at::Tensor& p, const at::Tensor& q, const at::Tensor& next, double scale) {
  at::Tensor log_p = at::log_softmax(p, -1, at::kFloat);
  double sum = 0;
  at::Tensor difference;
  if (q.defined()) {
    const at::Tensor log_q = at::log_softmax(q, -1, at::kFloat);
    const at::Tensor dense = log_q.exp();
    sum = (dense * (log_q - log_p)).sum(-1).sum(backend::of(p).sum_dtype()).item<double>();
    if (scale != 0) difference = log_p.exp_().sub_(dense);
  } else {
    const at::Tensor target = next.unsqueeze(1);
    sum = -log_p.gather(1, target).sum(backend::of(p).sum_dtype()).item<double>();
    if (scale != 0)
      difference = log_p.exp_().scatter_add_(1, target, at::full(target.sizes(), -1.0, log_p.options()));
  }
  if (scale != 0) p.copy_(difference.mul_(scale));
  return sum;
}

template <typename T>
T* data(const at::Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

/// The same on the CPU by kernels/token_loss.
double by_rows(const at::Tensor& p, const at::Tensor& q, const at::Tensor& next, double scale) {
  std::vector<double> sums(static_cast<size_t>(p.size(0)));
  const auto run = [&]<typename T>(T) {
    if (q.defined())
      kernels::kl_rows(p.size(0), p.size(1), data<T>(p), static_cast<const T*>(data<T>(q)),
                       static_cast<float>(scale), sums.data());
    else
      kernels::ce_rows(p.size(0), p.size(1), data<T>(p), next.contiguous().const_data_ptr<int64_t>(),
                       static_cast<float>(scale), sums.data());
  };
  p.scalar_type() == at::kBFloat16 ? run(kernels::Bf16{}) : run(float{});
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

}  // namespace

TokenLoss parse_token_loss(std::string_view text) {
  return parse_named(kTokenLossNames, text, "loss of the whole model");
}

std::string_view name(TokenLoss loss) { return name_in(kTokenLossNames, loss); }

TokenLossResult token_loss(TokenLoss loss, const at::Tensor& hidden, const at::Tensor& dense_hidden,
                           const at::Tensor& next, const model::Head& head, double divisor) {
  const at::NoGradGuard no_grad;
  TokenLossResult result{.tokens = hidden.size(0)};
  if (divisor != 0) result.gradient = at::empty(hidden.sizes(), hidden.options().dtype(at::kFloat));
  const bool has_kernels = backend::of(head.weight).has_kernels(head.weight.scalar_type());
  Logits ours(head);
  Logits dense(head);
  for (int64_t i = 0; i < hidden.size(0); i += kLogitRows) {
    const int64_t n = std::min(kLogitRows, hidden.size(0) - i);
    const at::Tensor p = ours.of(hidden.narrow(0, i, n));
    const at::Tensor q = loss == TokenLoss::kKl ? dense.of(dense_hidden.narrow(0, i, n)) : at::Tensor();
    const at::Tensor chunk_next = loss == TokenLoss::kCe ? next.narrow(0, i, n) : at::Tensor();
    const double scale = divisor != 0 ? 1 / divisor : 0;
    const bool capped = head.soft_cap > 0 && divisor != 0;
    const at::Tensor slope = capped ? head.cap_slope(p) : at::Tensor();
    result.sum += has_kernels ? by_rows(p, q, chunk_next, scale) : by_tensors(p, q, chunk_next, scale);
    if (capped) p.mul_(slope);
    if (divisor != 0) result.gradient.narrow(0, i, n).copy_(at::mm(p, head.weight));
  }
  return result;
}

}  // namespace freelunch::reconstruct
