#include "freelunch/evaluate/final_stream.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/base/interrupt.h"

namespace freelunch::evaluate {

int64_t windows_together(int64_t length, int64_t width) {
  const auto window = length * width * static_cast<int64_t>(sizeof(float));
  return std::max<int64_t>(1, kStreamBytes / window);
}

at::Tensor final_stream(const model::WeightView& weights, const at::Tensor& windows,
                        const model::Forward& forward, const std::function<void(int64_t)>& finished) {
  const at::NoGradGuard no_grad;
  const backend::Compute& compute = forward.compute();
  at::Tensor x = at::empty({windows.size(0), windows.size(1), forward.config().width},
                           at::TensorOptions().dtype(at::kFloat).device(compute.device));
  for (int64_t i = 0; i < x.size(0); ++i)
    x.select(0, i).copy_(weights.embed(windows.select(0, i), compute.device));
  for (int64_t b = 0; b < forward.config().blocks; ++b) {
    const model::Block block = weights.block(b, compute.device, compute.dtype);
    for (int64_t i = 0; i < x.size(0); ++i) {
      throw_if_interrupted();
      x.narrow(0, i, 1).copy_(forward.forward_block(block, x.narrow(0, i, 1)));
    }
    finished(b + 1);
  }
  return x;
}

}  // namespace freelunch::evaluate
