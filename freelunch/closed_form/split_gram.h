#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/gemm/gemm_bf16.h"

namespace freelunch::reconstruct {

/// A positive semidefinite matrix H (n, n) as F^T F + high + low, so that products with it run at the bf16
/// rate. high and low are bf16 matrices; F (k, n) fp32, k <= 16, holds what a few inputs of enormous size
/// contribute (docs/methods/closed_form.md). Only for CPUs with a fast bf16 GEMM. Takes as
/// much memory as H in fp32.
class SplitGram {
 public:
  static bool serves(at::Device device);
  /// H (n, n) fp32.
  explicit SplitGram(const at::Tensor& H);

  int64_t size() const { return n_; }
  /// The number of rows of F.
  int64_t large_rank() const { return large_.size(0); }
  /// The diagonal of H, not rounded, (n) fp32.
  const at::Tensor& diagonal() const { return diagonal_; }
  /// The distance between two rows of a left factor, in elements. If n is odd, element n must be zero.
  int64_t stride() const { return even() + gemm::kRowPadding; }
  /// out (rows, n) fp32 = (high + low) H for bf16 factors high, low (rows, stride()). The error is about
  /// 2^-16 of the product without F: the product of `low` with the low part is left out. Takes three GEMMs.
  void multiply(int64_t rows, const kernels::Bf16* high, const kernels::Bf16* low, float* out) const;
  /// out (rows, n) fp32 = a H with H - F^T F rounded to bf16, a (rows, stride()). Takes one GEMM.
  void multiply_rounded(int64_t rows, const kernels::Bf16* a, float* out) const;
  /// The sum over the rows e of E (rows, n) fp32 of e H e^T, one of the two e rounded to bf16.
  double quadratic(const at::Tensor& E) const;

 private:
  /// Rows [begin, end) of one panel of columns of high_ or low_; end - begin is even.
  struct Panel {
    const at::Tensor& part;
    int64_t column;  // the first
    int64_t begin, end;
  };
  /// out (rows, width of the panel), n_ apart, from a (rows, stride()) times the panel.
  void multiply_panel(int64_t rows, const kernels::Bf16* a, const Panel& panel, float* out,
                      kernels::Output output) const;
  /// Adds a F^T F to out (rows, n), a (rows, stride()) bf16.
  void add_large_part(int64_t rows, const kernels::Bf16* a, float* out) const;
  int64_t even() const { return (n_ + 1) / 2 * 2; }
  int64_t n_;
  at::Tensor diagonal_;
  at::Tensor large_;       // F
  at::Tensor high_, low_;  // (even() / 2, n) words: panels of kPanel columns, each in VNNI layout
};

}  // namespace freelunch::reconstruct
