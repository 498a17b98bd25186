#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// The LM head: the map from hidden states after the final norm to logits.
struct Head {
  at::Tensor weight;    ///< (vocabulary, d) in the compute dtype
  double soft_cap = 0;  ///< c: logits become c tanh(logits / c); 0: no cap

  Head(at::Tensor w, double cap = 0) : weight(std::move(w)), soft_cap(cap) {}  // implicit from a matrix

  int64_t vocabulary() const { return weight.size(0); }
  /// hidden (n, d) -> logits (n, vocabulary) in the compute dtype. Writes them to `memory`, of that shape and
  /// dtype, if given.
  at::Tensor logits(const at::Tensor& hidden, at::Tensor memory = {}) const;
  /// The derivative of the soft cap at given capped logits: (n, vocabulary) -> (n, vocabulary) fp32.
  at::Tensor cap_slope(const at::Tensor& logits) const;
};

}  // namespace freelunch::model
