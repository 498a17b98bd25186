#pragma once
#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>

#include "freelunch/descent/trainable_tensor.h"

namespace freelunch::reconstruct {

/// Makes a tensor trainable as the settings say. `value` fp32 is not changed. `retained` is its mask, bool of
/// the same shape; undefined means that no weight is removed. `dtype` is the dtype of the leaf. Removed
/// weights are exactly zero in leaf and value. `name` names the tensor in messages and seeds an adapter's
/// start.
std::unique_ptr<TrainableTensor> trainable(const std::string& name, const at::Tensor& value,
                                           const at::Tensor& retained, at::ScalarType dtype,
                                           const TrainableSettings& settings);

/// A tensor that is not trained; its leaf is `value` in `dtype`.
std::unique_ptr<TrainableTensor> frozen(const std::string& name, const at::Tensor& value,
                                        at::ScalarType dtype);

}  // namespace freelunch::reconstruct
