#include "freelunch/storage/transfer.h"

#include <ATen/ATen.h>

#include "freelunch/backend/backend.h"

namespace freelunch::model {

at::Tensor to_device(const at::Tensor& tensor, at::Device device) {
  const backend::Backend backend = backend::of(device);
  if (!backend.own_memory()) return tensor;
  if (!backend.pinned_memory()) return tensor.to(device);
  return tensor.pin_memory().to(device, /*non_blocking=*/true);
}

}  // namespace freelunch::model
