#include "freelunch/structure/refit.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"

namespace freelunch::structure {
namespace {

/// sum over outputs of weight x sum over tokens of (W x + b - y)^2, relative to that of y.
class WeighedError {
 public:
  WeighedError(const ConsumerMoments& moments, const at::Tensor& kept, const at::Tensor& weights)
      : H_(moments.H.index_select(0, kept).index_select(1, kept)),
        B_(moments.B.index_select(1, kept)),
        sums_(moments.sums.index_select(0, kept)),
        targets_(moments.targets),
        squares_(moments.squares),
        tokens_(static_cast<double>(moments.tokens)),
        weights_(weights.to(moments.H.scalar_type())),
        whole_(std::max((squares_ * weights_).sum().item<double>(), 1e-30)) {}

  /// W (out, kept), b (out) or undefined, in the dtype of the moments.
  double of(const at::Tensor& W, const at::Tensor& b) const {
    at::Tensor errors = (at::mm(W, H_) * W).sum(1) - 2 * (B_ * W).sum(1) + squares_;
    if (b.defined()) errors = errors + tokens_ * b.square() + 2 * b * (at::mv(W, sums_) - targets_);
    return (errors * weights_).sum().item<double>() / whole_;
  }

 private:
  at::Tensor H_, B_, sums_, targets_, squares_;
  double tokens_;
  at::Tensor weights_;
  double whole_;
};

/// The bias that makes the mean of the output that of the target: (out).
at::Tensor intercept_of(const at::Tensor& W, const at::Tensor& kept, const ConsumerMoments& moments) {
  return (moments.targets - at::mv(W, moments.sums.index_select(0, kept))) /
         static_cast<double>(std::max<int64_t>(1, moments.tokens));
}

}  // namespace

ConsumerMoments ConsumerMoments::local(const at::Tensor& W, at::Tensor H, at::Tensor sums, int64_t tokens) {
  const at::Tensor exact = W.to(H.scalar_type());
  ConsumerMoments moments{
      .H = std::move(H), .sums = std::move(sums), .B = {}, .targets = {}, .squares = {}, .tokens = tokens};
  moments.B = at::mm(exact, moments.H);
  moments.targets = at::mv(exact, moments.sums);
  moments.squares = (moments.B * exact).sum(1);
  return moments;
}

at::Tensor centred(const at::Tensor& H, const at::Tensor& sums, int64_t tokens) {
  return H - at::outer(sums, sums) / static_cast<double>(std::max<int64_t>(1, tokens));
}

Refitted keep_columns(const at::Tensor& W_dense, const at::Tensor& kept, const ConsumerMoments& seen,
                      const ConsumerMoments& held, const at::Tensor& weights, bool intercept) {
  const at::NoGradGuard no_grad;
  Refitted result{.W = W_dense.index_select(1, kept).contiguous(), .bias = {}};
  const at::Tensor W = result.W.to(seen.H.scalar_type());
  const at::Tensor b = intercept ? intercept_of(W, kept, seen) : at::Tensor();
  if (intercept) result.bias = b.to(at::kFloat);
  result.before = result.after = WeighedError(seen, kept, weights).of(W, b);
  result.held_out_before = result.held_out_after = WeighedError(held, kept, weights).of(W, b);
  return result;
}

Refitted refit(const at::Tensor& W_dense, const at::Tensor& kept, const ConsumerMoments& seen,
               const ConsumerMoments& held, const at::Tensor& weights, const RefitSettings& settings) {
  const at::NoGradGuard no_grad;
  Refitted best = keep_columns(W_dense, kept, seen, held, weights, settings.intercept);
  const WeighedError on_held(held, kept, weights);
  const at::Tensor anchor = W_dense.index_select(1, kept).to(seen.H.scalar_type());
  at::Tensor H = seen.H.index_select(0, kept).index_select(1, kept);
  at::Tensor B = seen.B.index_select(1, kept);
  if (settings.intercept) {
    const at::Tensor sums = seen.sums.index_select(0, kept);
    H = centred(H, sums, seen.tokens);
    B = B - at::outer(seen.targets, sums) / static_cast<double>(std::max<int64_t>(1, seen.tokens));
  }
  const double mean = std::max(H.diagonal().mean().item<double>(), 1e-30);
  std::vector<double> lambdas = settings.lambdas;
  std::sort(lambdas.begin(), lambdas.end(), std::greater<>());
  bool factorised = false;
  at::Tensor best_W, best_b;             // in the dtype of the moments
  for (const double lambda : lambdas) {  // from the safest on; the error falls, then rises
    throw_if_interrupted();
    at::Tensor A = H.clone();
    A.diagonal().add_(lambda * mean);
    const auto [L, failed] = at::linalg_cholesky_ex(A);
    if (failed.item<int>() != 0) break;
    factorised = true;
    const at::Tensor W = at::cholesky_solve((B + anchor * (lambda * mean)).t(), L).t();
    const at::Tensor b = settings.intercept ? intercept_of(W, kept, seen) : at::Tensor();
    const double error = on_held.of(W, b);
    if (!(error < best.held_out_after)) {
      if (best_W.defined()) break;
      continue;
    }
    best_W = W;
    best_b = b;
    best.lambda = lambda;
    best.held_out_after = error;
  }
  if (best_W.defined()) {
    best.W = best_W.to(at::kFloat).contiguous();
    if (best_b.defined()) best.bias = best_b.to(at::kFloat);
    best.after = WeighedError(seen, kept, weights).of(best_W, best_b);
  }
  if (!factorised)
    fail(ErrorKind::kNumerical, "refit: the Gram matrix of {} inputs cannot be factorised", kept.size(0));
  if (!std::isfinite(best.W.abs().max().item<double>()))
    fail(ErrorKind::kNumerical, "refit: the solution is not finite (lambda {})", best.lambda);
  return best;
}

}  // namespace freelunch::structure
