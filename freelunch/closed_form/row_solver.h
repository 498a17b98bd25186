#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/closed_form/split_gram.h"

namespace freelunch::reconstruct {

/// The system of each row w of W (out, in) on the retained entries of that row:
/// (H + shift I) w = (H + shift I) w_dense + extra.
struct RowProblem {
  const at::Tensor& W_dense;   ///< (out, in) fp32
  const at::Tensor& retained;  ///< (out, in) bool
  const at::Tensor& extra;     ///< (out, in) fp32; undefined means 0
  const at::Tensor& diagonal;  ///< (in) fp32: the diagonal of H + shift I, positive
  double shift;
  int64_t iterations;  ///< the most
  double tolerance;    ///< a row stops when its preconditioned residual has fallen by this factor
};

/// Solves all rows by conjugate gradients from w_dense, with the diagonal as preconditioner; each row has its
/// own step lengths. 48 rows at a time run to the end, so their state stays in a core's cache. W (out, in)
/// fp32, zero at removed entries.
at::Tensor solve_rows(const SplitGram& H, const RowProblem& problem);

/// The number of GEMMs with a bf16 matrix of the size of H that this many iterations take, for the planner.
int64_t products_of(int64_t iterations);

}  // namespace freelunch::reconstruct
