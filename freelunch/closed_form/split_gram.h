#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/gemm/gemm_bf16.h"

namespace freelunch::reconstruct {

/// A symmetric matrix H (n, n) as the sum of two bf16 matrices, so that products with it run at the bf16
/// rate. On CPUs with bf16 products alone; costs as much memory as H in fp32.
class SplitGram {
 public:
  static bool serves(at::Device device);
  explicit SplitGram(const at::Tensor& H);

  int64_t size() const { return n_; }
  /// As it was before it was split, (n) fp32.
  const at::Tensor& diagonal() const { return diagonal_; }
  /// From one row of high and low to the next; the entry after an odd n must be zero.
  int64_t stride() const { return even() + gemm::kApart; }
  /// out (rows, n) = (high + low) H for high, low (rows, stride()), good to about 2^-16: low times the lower
  /// part of H is left out. Three products in bf16, accumulated in fp32.
  void multiply(int64_t rows, const kernels::Bf16* high, const kernels::Bf16* low, float* out) const;
  /// out (rows, n) = a H with H rounded to bf16, a (rows, stride()): one product.
  void multiply_rounded(int64_t rows, const kernels::Bf16* a, float* out) const;
  /// sum over the rows of E (rows, n) fp32 of e H e^T, one e rounded to bf16.
  double quadratic(const at::Tensor& E) const;

 private:
  /// out (rows, width of the panel) = a H, rows [from, to) and one panel of columns of H, to - from even; n_
  /// apart.
  void multiply_panel(int64_t rows, int64_t column, int64_t from, int64_t to, const at::Tensor& H,
                      const kernels::Bf16* a, float* out, bool add) const;
  int64_t even() const { return (n_ + 1) / 2 * 2; }
  int64_t n_;
  at::Tensor diagonal_;
  at::Tensor high_, low_;  // panels of kPanel columns, pairs of rows of H as words
};

}  // namespace freelunch::reconstruct
