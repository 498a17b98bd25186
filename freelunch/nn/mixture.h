#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/architecture/config.h"

namespace freelunch::model {

/// The experts of each token and their weights.
struct Routing {
  at::Tensor experts;  ///< (tokens, chosen) int64
  at::Tensor weights;  ///< (tokens, chosen) fp32
};

/// The `chosen` largest of softmax(normed router^T) for each token, in fp32: normed (tokens, d), router
/// (experts, d).
Routing route(const Experts& experts, const at::Tensor& router, const at::Tensor& normed);

/// The tokens routed to an expert, ascending: (tokens of the expert) int64.
at::Tensor tokens_of(const Routing& routing, int64_t expert);

/// The weight of the expert for each of those tokens: (tokens of the expert, 1) fp32.
at::Tensor weights_of(const Routing& routing, int64_t expert, const at::Tensor& tokens);

}  // namespace freelunch::model
