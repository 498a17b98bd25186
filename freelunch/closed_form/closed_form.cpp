#include "freelunch/closed_form/closed_form.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/closed_form/row_solver.h"

namespace freelunch::reconstruct {
namespace {

/// Right-hand side W_dense (C_t^T + lambda I), C_t = X_s^T X_t.
at::Tensor right_hand_side(const at::Tensor& W_dense, const Moments& moments, double lambda, double blend) {
  at::Tensor B = at::mm(W_dense, moments.H());  // H is symmetric
  if (blend != 0.0) B = B * (1 - blend) + at::mm(W_dense, moments.C().t()) * blend;
  return B.add_(W_dense, lambda);
}

/// A row stops when its preconditioned residual has fallen by this factor. The rest is far below the rounding
/// error of bf16 products.
constexpr double kTolerance = 1e-3;

/// All rows at once by ATen, on any device. A = H + lambda I, `diagonal` its diagonal.
at::Tensor solve_by_tensors(const at::Tensor& W_dense, const at::Tensor& retained, const Moments& moments,
                            double lambda, double blend, const at::Tensor& diagonal, int64_t iterations) {
  const at::Tensor M = retained.to(at::kFloat);
  at::Tensor A = moments.H().clone();
  A.diagonal().add_(lambda);
  const at::Tensor inverse_diagonal = diagonal.reciprocal();  // (in)
  at::Tensor W = W_dense * M;
  at::Tensor residual = right_hand_side(W_dense, moments, lambda, blend).sub_(at::mm(W, A)).mul_(M);
  at::Tensor z = residual * inverse_diagonal;
  at::Tensor direction = z.clone();
  at::Tensor rz = (residual * z).sum(1, true);  // (out, 1): every row has its own step
  const at::Tensor goal = rz * (kTolerance * kTolerance);
  for (int64_t i = 0; i < iterations; ++i) {
    const at::Tensor image = at::mm(direction, A).mul_(M);
    const at::Tensor step = rz / (direction * image).sum(1, true).clamp_min_(1e-30);
    W.addcmul_(direction, step);
    residual.addcmul_(image, step, -1);
    z = residual * inverse_diagonal;
    const at::Tensor next = (residual * z).sum(1, true);
    if (next.le(goal).all().item<bool>()) break;
    direction.mul_(next / rz.clamp_min(1e-30)).add_(z);
    rz = next;
  }
  return W;
}

}  // namespace

Moments::Moments(at::Tensor H, Form form, at::Tensor C, at::Tensor D)
    : H_(std::move(H)), C_(std::move(C)), D_(std::move(D)) {
  if (form == Form::kFp32 || !SplitGram::serves(H_.device())) return;
  split_ = std::make_shared<const SplitGram>(H_);
  if (form == Form::kSplit) H_.reset();
}

const at::Tensor& Moments::H() const {
  if (!H_.defined())
    fail(ErrorKind::kInvalidArgument, "closed form: these moments hold only the split of H, not H in fp32");
  return H_;
}

at::Tensor solve(const at::Tensor& W_dense, const sparsity::Mask& mask, const Moments& moments,
                 const ClosedFormSettings& settings) {
  const at::NoGradGuard no_grad;
  if (settings.blend != 0.0 && !moments.has_cross()) {
    fail(ErrorKind::kInvalidArgument, "closed form: blend {} needs the cross-Gram matrix", settings.blend);
  }
  // If all inputs are always zero, H = 0: then lambda alone must keep the system definite.
  const at::Tensor diagonal_of_H = moments.diagonal();
  const double mean = std::max(diagonal_of_H.mean().item<double>(), 1e-30);
  const double lambda = settings.lambda * mean;
  const at::Tensor diagonal = diagonal_of_H.add(lambda).clamp_min(1e-12 * mean);
  at::Tensor W;
  if (const SplitGram* H = moments.split()) {
    at::Tensor extra;  // beta W_dense (C^T - H): the target's input differs from the matrix's own
    if (settings.blend != 0.0) extra = at::mm(W_dense, moments.C().t() - moments.H()).mul_(settings.blend);
    W = solve_rows(*H, {.W_dense = W_dense,
                        .retained = mask.retained,
                        .extra = extra,
                        .diagonal = diagonal,
                        .shift = lambda,
                        .iterations = settings.iterations,
                        .tolerance = kTolerance});
  } else {
    W = solve_by_tensors(W_dense, mask.retained, moments, lambda, settings.blend, diagonal,
                         settings.iterations);
  }
  if (!std::isfinite(W.abs().max().item<double>())) {
    fail(ErrorKind::kNumerical, "closed form: the solution is not finite (lambda {}, {} iterations)",
         settings.lambda, settings.iterations);
  }
  return W;
}

at::Tensor output_metric(const at::Tensor& G, double damping) {
  const at::NoGradGuard no_grad;
  const double mean = std::max(G.diagonal().mean().item<double>(), 1e-30);
  at::Tensor metric = G.to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).mul_(1 / mean);
  metric.diagonal().add_(damping);
  return metric;
}

at::Tensor solve_weighted(const at::Tensor& start, const at::Tensor& W_dense, const sparsity::Mask& mask,
                          const Moments& moments, const at::Tensor& metric,
                          const ClosedFormSettings& settings) {
  const at::NoGradGuard no_grad;
  const at::Tensor M = mask.retained.to(at::kFloat);
  const double mean = std::max(moments.H().diagonal().mean().item<double>(), 1e-30);
  const double lambda = settings.lambda * mean;
  at::Tensor A = moments.H().clone();
  A.diagonal().add_(lambda);
  const at::Tensor inverse_diagonal = at::outer(metric.diagonal().clamp_min(1e-12).reciprocal(),
                                                A.diagonal().clamp_min(1e-12 * mean).reciprocal());
  const auto apply = [&](const at::Tensor& W) { return at::mm(metric, at::mm(W, A)).mul_(M); };

  at::Tensor W = start.clone();
  const at::Tensor target = right_hand_side(W_dense, moments, lambda, settings.blend);
  at::Tensor residual = at::mm(metric, target).mul_(M).sub_(apply(W));
  at::Tensor z = residual * inverse_diagonal;
  at::Tensor direction = z.clone();
  at::Tensor rz = (residual * z).sum();
  for (int64_t i = 0; i < settings.iterations; ++i) {
    const at::Tensor image = apply(direction);
    const at::Tensor step = rz / (direction * image).sum().clamp_min_(1e-30);
    W.addcmul_(direction, step);
    residual.addcmul_(image, step, -1);
    z = residual * inverse_diagonal;
    const at::Tensor next = (residual * z).sum();
    direction.mul_(next / rz.clamp_min(1e-30)).add_(z);
    rz = next;
  }
  if (!std::isfinite(W.abs().max().item<double>())) {
    fail(ErrorKind::kNumerical, "closed form with sensitivity: the solution is not finite (lambda {})",
         settings.lambda);
  }
  return W;
}

RelativeError::RelativeError(at::Tensor W_dense, Moments moments, at::Tensor metric)
    : W_dense_(std::move(W_dense)), moments_(std::move(moments)), metric_(std::move(metric)) {
  if (moments_.has_cross()) {
    target_ = trace(W_dense_, moments_.D(), W_dense_);
  } else if (const SplitGram* H = split()) {
    target_ = H->quadratic(W_dense_);
  } else {
    target_ = trace(W_dense_, moments_.H(), W_dense_);
  }
  target_ = std::max(target_, 1e-30);
}

/// tr(G_d A H B^T); tr(A H B^T) without a metric.
double RelativeError::trace(const at::Tensor& A, const at::Tensor& H, const at::Tensor& B) const {
  const at::Tensor weighed = metric_.defined() ? at::mm(metric_, B) : B;
  return at::mm(A, H).mul_(weighed).sum(backend::of(A).sum_dtype()).item<double>();
}

double RelativeError::of(const at::Tensor& W) const {
  if (moments_.has_cross())
    return (trace(W, moments_.H(), W) - 2 * trace(W, moments_.C(), W_dense_) + target_) / target_;
  const at::Tensor difference = W - W_dense_;
  if (const SplitGram* H = split()) return H->quadratic(difference) / target_;
  return trace(difference, moments_.H(), difference) / target_;
}

ClosedFormSettings choose_settings(const at::Tensor& W_dense, const sparsity::Mask& mask,
                                   const Moments& calibration, const Moments& held_out,
                                   const ClosedFormGrid& grid) {
  const int64_t rows = std::min(grid.rows, W_dense.size(0));
  const at::Tensor index =
      (at::arange(rows, at::kDouble) * (static_cast<double>(W_dense.size(0)) / static_cast<double>(rows)))
          .to(W_dense.device(), at::kLong);
  const at::Tensor W = W_dense.index_select(0, index);
  const sparsity::Mask part{mask.retained.index_select(0, index)};
  const RelativeError held(W, held_out);
  std::vector<double> lambdas = grid.lambdas;
  std::sort(lambdas.begin(), lambdas.end());
  ClosedFormSettings best;
  double best_error = std::numeric_limits<double>::infinity();
  for (const double blend : grid.blends) {
    const auto error_of = [&](int64_t i) {
      throw_if_interrupted();
      const ClosedFormSettings settings{
          .lambda = lambdas[static_cast<size_t>(i)], .blend = blend, .iterations = grid.iterations};
      // abs: only rounding makes a sum of squares negative, and far below 0 it has destroyed the solution too
      const double error = std::abs(held.of(solve(W, part, calibration, settings)));
      if (error < best_error) {
        best_error = error;
        best = settings;
      }
      return error;
    };
    // The held-out error first falls and then rises with lambda: walk downhill from the middle of the grid.
    const auto middle = static_cast<int64_t>(lambdas.size() / 2);
    const double start = error_of(middle);
    for (const int64_t step : {1, -1}) {
      double least = start;
      for (int64_t i = middle + step; i >= 0 && i < std::ssize(lambdas); i += step) {
        const double next = error_of(i);
        if (next >= least) break;
        least = next;
      }
      if (least < start) break;
    }
  }
  return best;
}

}  // namespace freelunch::reconstruct
