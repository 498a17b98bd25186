#include "freelunch/descent/region.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/base/interrupt.h"

namespace freelunch::reconstruct {
namespace {

using model::Block;
using model::WeightRole;

constexpr int64_t kForwardTokens = 1024;

/// Block weights cast to the compute dtype once, for passes without gradients. `storage` owns the copies.
std::vector<RegionSublayer> cast_sublayers(const std::vector<RegionSublayer>& sublayers, at::ScalarType dtype,
                                           std::vector<Block>& storage) {
  storage.reserve(sublayers.size());
  std::vector<RegionSublayer> result;
  for (const RegionSublayer& sublayer : sublayers) {
    Block copy;
    copy.index = sublayer.block->index;
    for (const auto& [role, tensor] : sublayer.block->tensors()) {
      if (model::sublayer_of(role) != sublayer.sublayer) continue;
      copy.set(role, model::is_prunable(role) ? tensor.detach().to(dtype) : tensor.detach());
    }
    storage.push_back(std::move(copy));
    result.push_back({.block = &storage.back(), .masks = sublayer.masks, .sublayer = sublayer.sublayer});
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
  for (const RegionSublayer& role : sublayers_) y = forward_.forward_sublayer(*role.block, role.sublayer, y);
  return y;
}

void StreamRegion::with_cast_weights(const std::function<void(const Pass&)>& body) const {
  std::vector<Block> storage;
  const StreamRegion cast(forward_, cast_sublayers(sublayers_, forward_.compute().dtype, storage));
  body([&](const at::Tensor& x) { return cast.forward(x); });
}

std::vector<TrainedTensor> StreamRegion::trained(bool freeze_norms) {
  std::vector<TrainedTensor> result;
  for (const RegionSublayer& sublayer : sublayers_) {
    for (const auto& [role, tensor] : sublayer.block->tensors()) {
      // the router stays: which expert a token reaches is the dense model's choice
      if (model::sublayer_of(role) != sublayer.sublayer || role == WeightRole::kRouter) continue;
      if (model::is_norm(role) && freeze_norms) continue;
      const at::ScalarType dtype = model::is_prunable(role) ? forward_.compute().dtype : at::kFloat;
      result.push_back({.place = &sublayer.block->at(role), .mask = (*sublayer.masks)[role], .dtype = dtype});
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
