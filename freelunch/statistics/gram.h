#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::statistics {

/// The dtype of sums over held-out windows. There are few of them, and what is computed from the sums is
/// rounded to fp32 anyway.
inline constexpr at::ScalarType kHeldOutSums = at::kFloat;

/// The sum of squares of each input feature, accumulated in fp64 in one pass: all that wanda and ria need.
class ColumnNorms {
 public:
  ColumnNorms(int64_t width, at::Device device);
  /// X (..., width), any floating dtype. Throws InvalidArgument for another width.
  void add(const at::Tensor& X);
  /// (width) fp32: sqrt(sum_t X_tj^2).
  at::Tensor norms() const;

 private:
  at::Tensor squares_;
};

/// The Gram matrix H = X^T X (width, width). One call of add() multiplies with fp32 accumulation over a few
/// thousand tokens; the products are summed in `dtype`: fp64, or fp32 if there are few. bf16 inputs are
/// multiplied as bf16 on devices and on CPUs with a fast bf16 GEMM (gemm/), and as fp32 otherwise.
class Gram {
 public:
  Gram(int64_t width, at::Device device, at::ScalarType dtype = at::kDouble);
  /// X (..., width), any floating dtype. Throws InvalidArgument for another width.
  void add(const at::Tensor& X);
  /// H (width, width), converted to `dtype`.
  at::Tensor sum(at::ScalarType dtype = at::kDouble) const;
  /// The diagonal of H, (width) fp64.
  at::Tensor diagonal() const;
  int64_t tokens() const { return tokens_; }
  /// Bytes that a Gram of this width holds.
  static int64_t bytes(int64_t width, at::ScalarType dtype = at::kDouble);

 private:
  void add_bf16(const at::Tensor& rows);
  template <typename Sum>
  void add_bf16(const at::Tensor& rows, Sum* packed);
  void add_products(const at::Tensor& rows);
  int64_t panels() const;
  at::Tensor panel(int64_t i) const;

  int64_t width_;
  at::Tensor packed_;  // the upper triangle in panels of rows; gram.cpp has a picture
  int64_t tokens_ = 0;
};

/// The cross-Gram matrix C = X^T Y (width, width), fp64: X is a matrix's input in the pruned stream, Y the
/// input at the same tokens in the dense stream.
class CrossGram {
 public:
  CrossGram(int64_t width, at::Device device);
  /// X, Y (..., width), any floating dtype. Throws InvalidArgument for another width.
  void add(const at::Tensor& X, const at::Tensor& Y);
  const at::Tensor& sum() const { return sum_; }

 private:
  at::Tensor sum_;
};

}  // namespace freelunch::statistics
