#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// A CPU tensor on a device; the tensor itself where that is the CPU. Another device gets it from pinned
/// memory and is not waited for: the next tensor can be read from its file while the last ones are copied and
/// computed with.
at::Tensor to_device(const at::Tensor& tensor, at::Device device);

}  // namespace freelunch::model
