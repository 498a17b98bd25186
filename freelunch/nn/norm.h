#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/architecture/config.h"
#include "freelunch/architecture/weight_role.h"

namespace freelunch::model {

/// A norm over the last dimension, differentiable, computed in fp32: weight (d), bias (d) for kLayer, as
/// stored.
struct Norm {
  NormKind kind = NormKind::kRms;
  double epsilon = 1e-5;
  at::Tensor weight = {};
  at::Tensor bias = {};

  /// What the normed input is multiplied by: (d); undefined without one.
  at::Tensor gain() const;
  /// x (..., d) fp32 -> (..., d) of the given dtype.
  at::Tensor operator()(const at::Tensor& x, at::ScalarType dtype = at::kFloat) const;
};

/// The norm of `config`'s kind whose weight is `weight`; read(part) gives the tensors of it.
template <typename Read>
Norm norm_of(const Config& config, WeightRole weight, const Read& read) {
  Norm norm{.kind = config.norm, .epsilon = config.norm_epsilon, .weight = read(weight), .bias = {}};
  if (config.norm == NormKind::kLayer) norm.bias = read(bias_of(weight));
  return norm;
}

}  // namespace freelunch::model
