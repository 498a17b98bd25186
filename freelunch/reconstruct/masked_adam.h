#pragma once
#include <ATen/core/TensorBody.h>

#include <vector>

#include "reconstruct/schedule.h"
#include "sparsity/mask.h"

namespace freelunch::reconstruct {

/// AdamW over a few tensors at once, by ATen's fused kernel of the tensors' device. Masked weights get no
/// gradient, so their moments and steps stay exactly zero.
class MaskedAdam {
 public:
  explicit MaskedAdam(const AdamSettings& settings) : settings_(settings) {}

  /// `parameter` fp32, changed in place by step(); a mask without `kept` leaves it dense.
  void add(const at::Tensor& parameter, const sparsity::Mask& mask = {});
  /// One step with gradients in the order of add(); they are masked in place.
  void step(std::vector<at::Tensor> gradients, double learning_rate);

 private:
  AdamSettings settings_;
  std::vector<at::Tensor> parameters_, masks_, first_, second_, steps_;
};

}  // namespace freelunch::reconstruct
