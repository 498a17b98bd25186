#pragma once
#include <ATen/core/TensorBody.h>

#include <memory>
#include <vector>

#include "freelunch/closed_form/split_gram.h"
#include "freelunch/sparsity/mask.h"

namespace freelunch::reconstruct {

/// The second moments that the closed form needs, over calibration or held-out tokens.
/// X_s: the matrix's input in the pruned and repaired stream; X_d: in the dense model's stream.
struct Moments {
  at::Tensor H;  ///< X_s^T X_s (in, in) fp32; undefined if its split alone was kept
  at::Tensor C;  ///< X_s^T X_d (in, in) fp32; undefined if only the local target is asked for
  at::Tensor D;  ///< X_d^T X_d (in, in) fp32; undefined likewise

  /// H for fast products, made when first asked for and kept; null where the machine has none.
  const SplitGram* split() const;
  /// Lets H in fp32 go where its split serves, which is as large: enough for solve() with the local target
  /// and for errors without a metric.
  void keep_split_alone();
  /// Of H, (in) fp32.
  at::Tensor diagonal() const { return H.defined() ? H.diagonal() : split_of_H->diagonal(); }
  mutable std::shared_ptr<const SplitGram> split_of_H = nullptr;
};

struct ClosedFormSettings {
  double lambda = 0.01;     ///< pull towards the dense weights, in units of mean diag H
  double blend = 0.0;       ///< target input (1 - beta) X_s + beta X_d: 0 local, 1 cross
  int64_t iterations = 20;  ///< at most: rows stop when their residual has fallen a thousandfold
};

/// min over W with support M of ||X_s W^T - X_t W_dense^T||^2 + lambda ||W - W_dense||^2, where
/// X_t = (1 - beta) X_s + beta X_d: all rows at once by conjugate gradients with the diagonal as
/// preconditioner (docs/methods/closed_form.md). W_dense (out, in) fp32 -> W (out, in) fp32, exactly zero
/// outside M. Inputs that never fire (zero diagonal) keep their dense weights. Throws Numerical if the result
/// is not finite.
at::Tensor solve(const at::Tensor& W_dense, const sparsity::Mask& mask, const Moments& moments,
                 const ClosedFormSettings& settings);

/// What a matrix's outputs are worth to the model's likelihood: G_d = G / mean diag G + damping I, from
/// G = sum_t g_t g_t^T (out, out) in any floating dtype, g_t the gradient by the matrix's output
/// (docs/methods/sensitivity.md). fp32.
at::Tensor output_metric(const at::Tensor& G, double damping = 0.1);

/// As solve(), with the error of token t weighed by the metric: min of tr(G_d E (H + lambda I) E^T),
/// E = W - W_dense (for beta = 0), by conjugate gradients over the whole matrix with diag G_d x diag H as
/// preconditioner, from `start` (out, in) fp32, zero outside the mask. metric (out, out) fp32.
at::Tensor solve_weighted(const at::Tensor& start, const at::Tensor& W_dense, const sparsity::Mask& mask,
                          const Moments& moments, const at::Tensor& metric,
                          const ClosedFormSettings& settings);

/// ||X_s W^T - X_d W_dense^T||^2 / ||X_d W_dense^T||^2 on the tokens of the moments, of several W against one
/// W_dense; with undefined C and D the target is X_s W_dense^T. With a metric (out, out), squares are
/// e G_d e^T. Keeps references.
class RelativeError {
 public:
  RelativeError(const at::Tensor& W_dense, const Moments& moments, at::Tensor metric = {});
  double of(const at::Tensor& W) const;

 private:
  const SplitGram* split() const { return metric_.defined() ? nullptr : moments_.split(); }
  double trace(const at::Tensor& A, const at::Tensor& H, const at::Tensor& B) const;
  const at::Tensor& W_dense_;
  const Moments& moments_;
  at::Tensor metric_;
  double target_;
};

/// What the search for lambda and beta tries.
struct ClosedFormGrid {
  std::vector<double> lambdas{0.003, 0.01, 0.03, 0.1, 0.3, 1.0};
  std::vector<double> blends{0.0};
  int64_t iterations = 20;
  int64_t rows = 96;  ///< output rows tried, evenly spaced: rows are independent problems
};

/// The settings of the grid with the smallest error on held-out moments. Costs no pass over data.
ClosedFormSettings choose_settings(const at::Tensor& W_dense, const sparsity::Mask& mask,
                                   const Moments& calibration, const Moments& held_out,
                                   const ClosedFormGrid& grid);

}  // namespace freelunch::reconstruct
