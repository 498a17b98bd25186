#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/architecture/config.h"
#include "freelunch/architecture/weight_role.h"

namespace freelunch::model {

/// A norm over the last dimension, differentiable, computed in fp32. weight (d) and, for kLayer, bias (d) are
/// as stored in a Hugging Face folder.
struct Norm {
  NormKind kind = NormKind::kRms;
  double epsilon = 1e-5;
  at::Tensor weight = {};
  at::Tensor bias = {};

  /// The factor of the normed input: (d); undefined for kNone.
  at::Tensor gain() const;
  /// x (..., d) fp32 -> (..., d) of the given dtype.
  at::Tensor operator()(const at::Tensor& x, at::ScalarType dtype = at::kFloat) const;
};

/// The norm of role `weight`, of the kind that `config` names. read(role) returns its tensors.
template <typename Read>
Norm norm_of(const Config& config, WeightRole weight, const Read& read) {
  Norm norm{.kind = config.norm, .epsilon = config.norm_epsilon, .weight = read(weight), .bias = {}};
  if (config.norm == NormKind::kLayer) norm.bias = read(bias_of(weight));
  return norm;
}

}  // namespace freelunch::model
