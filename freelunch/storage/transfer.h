#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// Copies a CPU tensor to a device; returns the tensor itself if that device is the CPU. If the device can,
/// it copies from pinned memory and nobody waits: the next tensor can be read from its file meanwhile.
at::Tensor to_device(const at::Tensor& tensor, at::Device device);

}  // namespace freelunch::model
