#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/descent/schedule.h"

namespace freelunch::reconstruct {

/// How far a step moves each entry of a trained tensor, in units of the learning rate: 1 everywhere under an
/// absolute rate, the size of the weights around it under a relative one.
///
/// The size of weight (i, j) of a matrix is rows[i] columns[j]. With them the retained weights, divided by
/// their sizes, have a mean square of 1 in each row and each column (Sinkhorn and Knopp 1967; the scaling of
/// a matrix to given row and column sums). So the rate is a relative change, and rescaling rows or columns of
/// W rescales its updates alike. A row or column without weights gets the size of an average one.
///
/// The size of an entry of a vector, a norm's weights or a bias, is the entry itself, but at least a
/// twentieth of their root mean square, so that a small entry can grow; 0.1 if all are zero.
class UpdateSizes {
 public:
  /// `value` fp32: a matrix (out, in), zero where a weight is removed, or a vector (n).
  UpdateSizes(const at::Tensor& value, RateUnit unit);
  /// Whether all sizes are 1.
  bool all_one() const { return !columns_.defined(); }
  /// t, of the shape of `value`, times or over the sizes.
  at::Tensor times(const at::Tensor& t) const;
  at::Tensor over(const at::Tensor& t) const;
  /// Of a matrix: (out) and (in), fp32. Undefined if all sizes are 1.
  const at::Tensor& rows() const { return rows_; }
  const at::Tensor& columns() const { return columns_; }

 private:
  at::Tensor rows_, columns_;  // of a vector its sizes are `columns_`, and `rows_` is undefined
};

}  // namespace freelunch::reconstruct
