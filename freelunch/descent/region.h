#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <map>
#include <vector>

#include "freelunch/model/block.h"
#include "freelunch/model/forward.h"
#include "freelunch/sparsity/mask.h"
#include "freelunch/storage/activation_store.h"

namespace freelunch::reconstruct {

/// The masks of one block, by role. A matrix without a mask is dense.
class BlockMasks {
 public:
  sparsity::Mask& operator[](model::WeightRole role) { return masks_[role]; }
  sparsity::Mask operator[](model::WeightRole role) const {
    const auto it = masks_.find(role);
    return it == masks_.end() ? sparsity::Mask{} : it->second;
  }

 private:
  std::map<model::WeightRole, sparsity::Mask> masks_;
};

/// A tensor of a region that descent trains.
struct TrainedTensor {
  at::Tensor* place;    ///< where the region reads it: fp32 before and after training, a leaf during training
  sparsity::Mask mask;  ///< undefined if no weight is removed
  at::ScalarType dtype;  ///< of the leaf
};

/// The number of windows of this length in one pass without gradients: 1024 tokens are enough for GEMMs to
/// run at full rate and take little memory.
int64_t windows_at_a_time(int64_t length);

/// A part of the model that is trained on its own to reproduce the dense model's output.
class Region {
 public:
  virtual ~Region() = default;
  /// x (n, l, in) -> (n, l, out), differentiable in the trained tensors.
  virtual at::Tensor forward(const at::Tensor& x) const = 0;
  /// Runs all windows of `inputs` through the region into `outputs`, which may be the same store.
  void run(const model::ActivationStore& inputs, model::ActivationStore& outputs) const;
  /// The tensors that descent trains; norms are left out if freeze_norms is set.
  virtual std::vector<TrainedTensor> trained(bool freeze_norms) = 0;

  using Pass = std::function<at::Tensor(const at::Tensor&)>;
  /// Calls `body` with a forward pass whose weights are cast to the compute dtype once. Without gradients.
  virtual void with_cast_weights(const std::function<void(const Pass&)>& body) const = 0;
};

/// One sublayer of a region. The block holds fp32 master weights.
struct RegionSublayer {
  model::Block* block;
  const BlockMasks* masks;
  model::Sublayer sublayer;
};

/// Maps the residual stream to the residual stream, (n, l, d) fp32: one sublayer, one block or several
/// blocks.
class StreamRegion final : public Region {
 public:
  /// `sublayers` in the order of the forward pass. Keeps a reference to `forward`.
  StreamRegion(const model::Forward& forward, std::vector<RegionSublayer> sublayers)
      : forward_(forward), sublayers_(std::move(sublayers)) {}
  at::Tensor forward(const at::Tensor& x) const override;
  std::vector<TrainedTensor> trained(bool freeze_norms) override;
  void with_cast_weights(const std::function<void(const Pass&)>& body) const override;

 private:
  const model::Forward& forward_;
  std::vector<RegionSublayer> sublayers_;
};

/// One matrix and its bias: (n, l, in) -> (n, l, out), both in the compute dtype. The input is what the
/// matrix reads, after the norm, so the region has no norm.
class MatrixRegion final : public Region {
 public:
  /// W (out, in) fp32; bias (out) fp32 or undefined.
  MatrixRegion(at::Tensor W, at::Tensor bias, sparsity::Mask mask, at::ScalarType dtype)
      : W_(std::move(W)), bias_(std::move(bias)), mask_(std::move(mask)), dtype_(dtype) {}
  at::Tensor forward(const at::Tensor& x) const override;
  std::vector<TrainedTensor> trained(bool freeze_norms) override;
  void with_cast_weights(const std::function<void(const Pass&)>& body) const override;

 private:
  at::Tensor W_, bias_;
  sparsity::Mask mask_;
  at::ScalarType dtype_;
};

}  // namespace freelunch::reconstruct
