#pragma once
#include <ATen/core/TensorBody.h>

#include <vector>

namespace freelunch::structure {

/// Second moments of a consumer's input x and of the output y that it should have, without its bias, over
/// some tokens: fp64 (fp32 on devices without fp64).
struct ConsumerMoments {
  at::Tensor H;        ///< (in, in): sum_t x_t x_t^T
  at::Tensor sums;     ///< (in): sum_t x_t
  at::Tensor B;        ///< (out, in): sum_t y_t x_t^T
  at::Tensor targets;  ///< (out): sum_t y_t
  at::Tensor squares;  ///< (out): sum_t y_t^2
  int64_t tokens = 0;

  /// The moments for y = W x, the target that the dense consumer sets on the same input.
  static ConsumerMoments local(const at::Tensor& W, at::Tensor H, at::Tensor sums, int64_t tokens);
};

/// H - s s^T / n: the moments about the mean. (in, in)
at::Tensor centred(const at::Tensor& H, const at::Tensor& sums, int64_t tokens);

struct RefitSettings {
  std::vector<double> lambdas{1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1};
  bool intercept = false;  ///< the consumer has a bias, which takes up what the mean of the output lacks
};

/// The consumer on the columns that are kept.
struct Refitted {
  at::Tensor W;     ///< (out, kept) fp32
  at::Tensor bias;  ///< (out) fp32, to be added to the consumer's bias; undefined without intercept
  double lambda = 0;
  /// Relative errors, each output weighed: without a refit and after it, on the tokens that were fitted and
  /// on those that were held out.
  double before = 0, after = 0, held_out_before = 0, held_out_after = 0;
};

/// min over W_S of sum_t ||W_S x_S,t (+ b) - y_t||^2 + lambda ||W_S - W_dense,S||^2: in closed form,
///   W_S = (B_:S + lambda W_dense,S) (H_SS + lambda I)^-1,
/// by a Cholesky factorisation, with H and B about the mean if there is an intercept (docs/methods/
/// structured.md). lambda, in units of the mean diagonal of H, is the one of the settings with the smallest
/// error on `held`; rows do not depend on each other, so `weights`, (out), the importance of each output,
/// matters only for that choice and for the errors. W_dense (out, in) fp32; kept int64 (kept), ascending.
/// Throws Numerical if no factorisation succeeds or the result is not finite.
Refitted refit(const at::Tensor& W_dense, const at::Tensor& kept, const ConsumerMoments& seen,
               const ConsumerMoments& held, const at::Tensor& weights, const RefitSettings& settings);

/// The kept columns as they are. With an intercept, the bias takes up the mean of what the removed columns
/// gave (FLAP's compensation, arXiv 2312.11983). The errors are those of refit(), before and after alike.
Refitted keep_columns(const at::Tensor& W_dense, const at::Tensor& kept, const ConsumerMoments& seen,
                      const ConsumerMoments& held, const at::Tensor& weights, bool intercept);

}  // namespace freelunch::structure
