#pragma once
#include <ATen/core/TensorBody.h>

#include <memory>
#include <vector>

#include "freelunch/closed_form/split_gram.h"
#include "freelunch/sparsity/mask.h"

namespace freelunch::reconstruct {

/// The second moments of a matrix's input over some tokens. X_s (tokens, in) is the input in the pruned and
/// repaired stream, X_d the input in the dense model's stream.
class Moments {
 public:
  /// In which forms H is held. A SplitGram takes as much memory as H in fp32.
  enum class Form {
    kFp32,   ///< fp32: enough for every error; solve() runs at the fp32 rate
    kSplit,  ///< SplitGram: enough for solve() with the local target and for errors without a metric
    kBoth    ///< enough for everything, at the bf16 rate where that is possible
  };
  /// H = X_s^T X_s, C = X_s^T X_d and D = X_d^T X_d, each (in, in) fp32. C and D are undefined if there is
  /// only the local target. If the machine has no fast bf16 GEMM, H is held in fp32 whatever the form.
  explicit Moments(at::Tensor H, Form form = Form::kBoth, at::Tensor C = {}, at::Tensor D = {});

  /// H in fp32. Throws InvalidArgument if the form is kSplit.
  const at::Tensor& H() const;
  /// The split of H; null if it is not held.
  const SplitGram* split() const { return split_.get(); }
  /// The diagonal of H, (in) fp32.
  at::Tensor diagonal() const { return H_.defined() ? H_.diagonal() : split_->diagonal(); }
  bool has_cross() const { return C_.defined(); }
  const at::Tensor& C() const { return C_; }
  const at::Tensor& D() const { return D_; }

 private:
  at::Tensor H_, C_, D_;
  std::shared_ptr<const SplitGram> split_;
};

struct ClosedFormSettings {
  double lambda = 0.01;     ///< weight of the pull towards the dense weights, relative to the mean of diag H
  double blend = 0.0;       ///< beta: the target's input is (1 - beta) X_s + beta X_d; 0 is local, 1 is cross
  int64_t iterations = 20;  ///< the most; a row stops when its residual is a thousandth of its first one
};

/// Solves min over W with mask M of ||X_s W^T - X_t W_dense^T||^2 + lambda ||W - W_dense||^2 with
/// X_t = (1 - beta) X_s + beta X_d, for all rows by conjugate gradients with the diagonal as preconditioner
/// (docs/methods/closed_form.md). W_dense (out, in) fp32 -> W (out, in) fp32, exactly zero outside M. Weights
/// of inputs that are always zero keep their dense values. Throws InvalidArgument if beta is not 0 and the
/// moments lack C; Numerical if the result is not finite.
at::Tensor solve(const at::Tensor& W_dense, const sparsity::Mask& mask, const Moments& moments,
                 const ClosedFormSettings& settings);

/// How strongly the model's likelihood depends on a matrix's outputs: G_d = G / mean diag G + damping I, with
/// G = sum_t g_t g_t^T (out, out) in any floating dtype and g_t the gradient with respect to the matrix's
/// output (docs/methods/sensitivity.md). (out, out) fp32.
at::Tensor output_metric(const at::Tensor& G, double damping = 0.1);

/// As solve(), with errors weighted by the metric (out, out) fp32: min of tr(G_d E (H + lambda I) E^T),
/// E = W - W_dense (written for beta = 0). Conjugate gradients over the whole matrix, with
/// diag G_d x diag (H + lambda I) as preconditioner, from `start` (out, in) fp32, which is zero outside the
/// mask. The moments need H in fp32.
at::Tensor solve_weighted(const at::Tensor& start, const at::Tensor& W_dense, const sparsity::Mask& mask,
                          const Moments& moments, const at::Tensor& metric,
                          const ClosedFormSettings& settings);

/// ||X_s W^T - X_d W_dense^T||^2 / ||X_d W_dense^T||^2 on the tokens of the moments, for any number of W and
/// one W_dense. Without C and D the target is X_s W_dense^T. With a metric (out, out) the square of an error
/// row e is e G_d e^T.
class RelativeError {
 public:
  /// W_dense (out, in) fp32.
  RelativeError(at::Tensor W_dense, Moments moments, at::Tensor metric = {});
  /// W (out, in) fp32.
  double of(const at::Tensor& W) const;

 private:
  const SplitGram* split() const { return metric_.defined() ? nullptr : moments_.split(); }
  double trace(const at::Tensor& A, const at::Tensor& H, const at::Tensor& B) const;
  at::Tensor W_dense_;
  Moments moments_;
  at::Tensor metric_;
  double target_;
};

/// The settings that the search for lambda and beta tries.
struct ClosedFormGrid {
  std::vector<double> lambdas{0.003, 0.01, 0.03, 0.1, 0.3, 1.0};
  std::vector<double> blends{0.0};
  int64_t iterations = 20;
  int64_t rows = 96;  ///< the search uses this many output rows, evenly spaced: rows are independent problems
};

/// The settings of the grid with the smallest error on held-out moments. Takes no pass over data.
ClosedFormSettings choose_settings(const at::Tensor& W_dense, const sparsity::Mask& mask,
                                   const Moments& calibration, const Moments& held_out,
                                   const ClosedFormGrid& grid);

}  // namespace freelunch::reconstruct
