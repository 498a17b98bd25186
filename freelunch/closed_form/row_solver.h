#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/closed_form/split_gram.h"

namespace freelunch::reconstruct {

/// Rows w of W (out, in), each with its own support and its own steps: on the support
/// (H + shift I) w = (H + shift I) w_dense + extra, from w_dense on it, by conjugate gradients with the
/// diagonal as preconditioner. A few rows at a time run in a core's cache to the end, which is when the
/// preconditioned residual of each has fallen by `tolerance` or after `iterations`.
struct RowProblem {
  const at::Tensor& W_dense;   ///< (out, in) fp32
  const at::Tensor& retained;  ///< (out, in) bool
  const at::Tensor& extra;     ///< (out, in) fp32 or undefined
  const at::Tensor& diagonal;  ///< (in) fp32: of H + shift I, positive
  double shift;
  int64_t iterations;
  double tolerance;
};
at::Tensor solve_rows(const SplitGram& H, const RowProblem& problem);
/// How many products with a bf16 matrix as large as H so many iterations take.
int64_t products_of(int64_t iterations);

}  // namespace freelunch::reconstruct
