#include "freelunch/nn/head.h"

#include <ATen/ATen.h>

namespace freelunch::model {

at::Tensor Head::logits(const at::Tensor& hidden, at::Tensor memory) const {
  const at::Tensor rows = hidden.to(weight.scalar_type());
  at::Tensor result = memory.defined() ? at::mm_out(memory, rows, weight.t()) : at::linear(rows, weight);
  if (soft_cap > 0) result.div_(soft_cap).tanh_().mul_(soft_cap);
  return result;
}

at::Tensor Head::cap_slope(const at::Tensor& logits) const {
  const at::Tensor tanh = logits.to(at::kFloat) / soft_cap;
  return 1 - tanh * tanh;
}

}  // namespace freelunch::model
