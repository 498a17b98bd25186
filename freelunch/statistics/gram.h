#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::statistics {

/// The dtype of sums over held-out windows: these are few, and their results are rounded to fp32 anyway.
inline constexpr at::ScalarType kHeldOutSums = at::kFloat;

/// Sum of squares of each input feature, one pass, fp64: what wanda and ria need.
class ColumnNorms {
 public:
  ColumnNorms(int64_t width, at::Device device);
  /// X (..., width), any floating dtype.
  void add(const at::Tensor& X);
  /// (width) fp32: sqrt(sum_t X_tj^2).
  at::Tensor norms() const;

 private:
  at::Tensor squares_;
};

/// H = X^T X (width, width), accumulated in fp64, or in fp32 where few batches come, from products of a few
/// thousand tokens with fp32 accumulation. bf16 inputs are multiplied as they are on CPUs with bf16 products
/// and on other devices, all else in fp32.
class Gram {
 public:
  Gram(int64_t width, at::Device device, at::ScalarType dtype = at::kDouble);
  /// X (..., width).
  void add(const at::Tensor& X);
  /// (width, width), rounded to the dtype once.
  at::Tensor sum(at::ScalarType dtype = at::kDouble) const;
  /// (width) fp64: the diagonal of what is summed.
  at::Tensor diagonal() const;
  int64_t tokens() const { return tokens_; }
  /// What one of that width holds.
  static int64_t bytes(int64_t width, at::ScalarType dtype = at::kDouble);

 private:
  void add_bf16(const at::Tensor& rows);
  template <typename Sum>
  void add_bf16(const at::Tensor& rows, Sum* packed);
  void add_products(const at::Tensor& rows);
  int64_t panels() const;
  at::Tensor panel(int64_t i) const;

  int64_t width_;
  at::Tensor packed_;  // panels of rows one after the other, each from its square on the diagonal on
  int64_t tokens_ = 0;
};

/// C = X^T Y (width, width), as Gram: X the pruned stream's input, Y the dense stream's.
class CrossGram {
 public:
  CrossGram(int64_t width, at::Device device);
  void add(const at::Tensor& X, const at::Tensor& Y);
  const at::Tensor& sum() const { return sum_; }

 private:
  at::Tensor sum_;
};

}  // namespace freelunch::statistics
