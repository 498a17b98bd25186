#include "reconstruct/region.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "base/interrupt.h"

namespace freelunch::reconstruct {
namespace {

using model::Block;
using model::Part;

constexpr int64_t kForwardTokens = 1024;

/// Block weights cast to the compute dtype once, for passes without gradients. `storage` owns the copies.
std::vector<RegionHalf> cast_halves(const std::vector<RegionHalf>& halves, at::ScalarType dtype,
                                    std::vector<Block>& storage) {
  storage.reserve(halves.size());
  std::vector<RegionHalf> result;
  for (const RegionHalf& half : halves) {
    Block copy;
    copy.index = half.block->index;
    for (const auto& [part, tensor] : half.block->tensors()) {
      if (model::half_of(part) != half.half || !tensor.defined()) continue;
      copy[part] = model::is_matrix(part) ? tensor.detach().to(dtype) : tensor.detach();
    }
    storage.push_back(std::move(copy));
    result.push_back({.block = &storage.back(), .masks = half.masks, .half = half.half});
  }
  return result;
}

}  // namespace

int64_t windows_at_a_time(int64_t length) { return std::max<int64_t>(1, kForwardTokens / length); }

void Region::run(const model::ActivationStore& inputs, model::ActivationStore& outputs) const {
  const at::NoGradGuard no_grad;
  with_cast_weights([&](const Pass& pass) {
    const int64_t step = windows_at_a_time(inputs.length());
    for (int64_t i = 0; i < inputs.windows(); i += step) {
      throw_if_interrupted();
      const int64_t n = std::min(step, inputs.windows() - i);
      outputs.write(i, pass(inputs.read(i, n)));
    }
  });
}

at::Tensor StreamRegion::forward(const at::Tensor& x) const {
  at::Tensor y = x;
  for (const RegionHalf& part : halves_) y = forward_.half(*part.block, part.half, y);
  return y;
}

void StreamRegion::with_cast_weights(const std::function<void(const Pass&)>& body) const {
  std::vector<Block> storage;
  const StreamRegion cast(forward_, cast_halves(halves_, forward_.compute().dtype, storage));
  body([&](const at::Tensor& x) { return cast.forward(x); });
}

std::vector<TrainedTensor> StreamRegion::trained(bool freeze_norms) {
  std::vector<TrainedTensor> result;
  for (const RegionHalf& half : halves_) {
    for (const auto& [part, tensor] : half.block->tensors()) {
      // the router stays: which expert a token reaches is the dense model's choice
      if (model::half_of(part) != half.half || !tensor.defined() || part == Part::kRouter) continue;
      if (model::is_norm(part) && freeze_norms) continue;
      const at::ScalarType dtype = model::is_matrix(part) ? forward_.compute().dtype : at::kFloat;
      result.push_back({.place = &(*half.block)[part], .mask = (*half.masks)[part], .dtype = dtype});
    }
  }
  return result;
}

at::Tensor MatrixRegion::forward(const at::Tensor& x) const { return model::linear(x, W_, bias_, dtype_); }

void MatrixRegion::with_cast_weights(const std::function<void(const Pass&)>& body) const {
  const at::Tensor W = W_.detach().to(dtype_);
  body([&](const at::Tensor& x) { return model::linear(x, W, bias_, dtype_); });
}

std::vector<TrainedTensor> MatrixRegion::trained(bool) {
  std::vector<TrainedTensor> result{{.place = &W_, .mask = mask_, .dtype = dtype_}};
  if (bias_.defined()) result.push_back({.place = &bias_, .mask = {}, .dtype = at::kFloat});
  return result;
}

}  // namespace freelunch::reconstruct
