#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/architecture/config.h"

namespace freelunch::model {

/// Which experts each token reaches, and how much each counts.
struct Routing {
  at::Tensor experts;  ///< (tokens, chosen) int64
  at::Tensor weights;  ///< (tokens, chosen) fp32
};

/// The `chosen` largest of softmax(normed router^T), in fp32: normed (tokens, d).
Routing route(const Experts& experts, const at::Tensor& router, const at::Tensor& normed);

/// The tokens that reach an expert, ascending: (tokens of the expert) int64.
at::Tensor tokens_of(const Routing& routing, int64_t expert);

/// How much the expert counts for those tokens: (tokens of the expert, 1) fp32.
at::Tensor weights_of(const Routing& routing, int64_t expert, const at::Tensor& tokens);

}  // namespace freelunch::model
