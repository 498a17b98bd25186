#pragma once
#include <ATen/core/TensorBody.h>

#include "products/bf16_product.h"

namespace freelunch::reconstruct {

/// A symmetric matrix H (n, n) as the sum of two bf16 matrices, so that products with it run at the bf16 rate
/// and are good to about 2^-16: (a + a')(H + H') without a'H', accumulated in fp32; where a' is zero, without
/// loss. On CPUs with bf16 products alone; costs as much memory as H in fp32.
class SplitGram {
 public:
  static bool serves(at::Device device);
  explicit SplitGram(const at::Tensor& H);

  int64_t size() const { return n_; }
  /// As it was before it was split, (n) fp32.
  const at::Tensor& diagonal() const { return diagonal_; }
  /// From one row of high and low to the next; the entry after an odd n must be zero.
  int64_t stride() const { return even() + products::kApart; }
  /// out (rows, n) = (high + low) H; high, low (rows, stride()); low may be null.
  void multiply(int64_t rows, const kernels::Bf16* high, const kernels::Bf16* low, float* out) const;
  /// sum over the rows of E (rows, n) fp32 of e H e^T, one e rounded to bf16.
  double quadratic(const at::Tensor& E) const;

 private:
  int64_t even() const { return (n_ + 1) / 2 * 2; }
  int64_t n_;
  at::Tensor diagonal_;
  at::Tensor high_, low_;  // panels of kPanel columns, pairs of rows of H as words
};

}  // namespace freelunch::reconstruct
