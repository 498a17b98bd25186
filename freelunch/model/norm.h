#pragma once
#include <ATen/core/TensorBody.h>

#include "model/config.h"

namespace freelunch::model {

/// A norm over the last dimension, differentiable, computed in fp32: weight (d), bias (d) for kLayer, as
/// stored.
struct Norm {
  NormKind kind = NormKind::kRms;
  double epsilon = 1e-5;
  at::Tensor weight = {};
  at::Tensor bias = {};

  /// x (..., d) fp32 -> (..., d) of the given dtype.
  at::Tensor operator()(const at::Tensor& x, at::ScalarType dtype = at::kFloat) const;
};

}  // namespace freelunch::model
