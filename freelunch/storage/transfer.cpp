#include "freelunch/storage/transfer.h"

#include <ATen/ATen.h>

namespace freelunch::model {

at::Tensor to_device(const at::Tensor& tensor, at::Device device) {
  if (device.is_cpu()) return tensor;
  return tensor.pin_memory().to(device, /*non_blocking=*/true);
}

}  // namespace freelunch::model
