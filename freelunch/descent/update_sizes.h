#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::reconstruct {

/// The size of the update of each weight of a matrix under a relative learning rate, as a product: weight
/// (i, j) moves by the rate times rows[i] columns[j].
struct MatrixSizes {
  at::Tensor rows;     ///< (out) fp32
  at::Tensor columns;  ///< (in) fp32
};

/// Sizes with which the retained weights, divided by them, have a mean square of 1 in each row and each
/// column (Sinkhorn and Knopp 1967; the scaling of a matrix to given row and column sums). So the rate is a
/// relative change, and rescaling rows or columns of W rescales its updates alike. W (out, in) fp32, zero
/// where removed. A row or column without weights gets the size of an average one.
MatrixSizes matrix_sizes(const at::Tensor& W);

/// The same for a norm's weights or a bias, value (n) fp32: the size of each entry, but at least a twentieth
/// of their root mean square, so that a small entry can grow; 0.1 if all are zero.
at::Tensor vector_sizes(const at::Tensor& value);

/// The sizes of a matrix or a vector. Holds only rows and columns of a matrix.
class UpdateSizes {
 public:
  UpdateSizes() = default;  ///< all 1
  /// `value` (out, in), zero where removed, or (n); fp32.
  explicit UpdateSizes(const at::Tensor& value);
  /// t, of the shape of `value`, times or over the sizes.
  at::Tensor times(const at::Tensor& t) const;
  at::Tensor over(const at::Tensor& t) const;

 private:
  at::Tensor rows_, columns_;  // (out, 1) and (in), or undefined and (n)
};

}  // namespace freelunch::reconstruct
