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

/// The masks of one block, by part; a part without one is dense.
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

/// A tensor that descent trains: where the region reads it, fp32 master weights before and after, and which
/// of them are kept. While it is trained a leaf in `dtype` stands in its place.
struct TrainedTensor {
  at::Tensor* place;
  sparsity::Mask mask;
  at::ScalarType dtype;
};

/// How many windows of that length go through a region at a time where nothing is trained: enough tokens for
/// products to run at their rate, and little memory.
int64_t windows_at_a_time(int64_t length);

/// A part of the model whose output is compared with the dense model's: it maps its input to its output.
class Region {
 public:
  virtual ~Region() = default;
  /// x (n, l, in) -> (n, l, out), differentiable in the trained tensors.
  virtual at::Tensor forward(const at::Tensor& x) const = 0;
  /// All windows of a store into those of another, or into their own place.
  void run(const model::ActivationStore& inputs, model::ActivationStore& outputs) const;
  virtual std::vector<TrainedTensor> trained(bool freeze_norms) = 0;

  using Pass = std::function<at::Tensor(const at::Tensor&)>;
  /// Hands `body` a forward pass with the weights cast once, for use without gradients.
  virtual void with_cast_weights(const std::function<void(const Pass&)>& body) const = 0;
};

/// One sublayer, in the order of the forward pass. The block holds fp32 master weights.
struct RegionSublayer {
  model::Block* block;
  const BlockMasks* masks;
  model::Sublayer sublayer;
};

/// Maps the residual stream to the residual stream, (n, l, d) fp32: one sublayer, a block, several blocks.
class StreamRegion final : public Region {
 public:
  StreamRegion(const model::Forward& forward, std::vector<RegionSublayer> sublayers)
      : forward_(forward), sublayers_(std::move(sublayers)) {}
  at::Tensor forward(const at::Tensor& x) const override;
  std::vector<TrainedTensor> trained(bool freeze_norms) override;
  void with_cast_weights(const std::function<void(const Pass&)>& body) const override;

 private:
  const model::Forward& forward_;
  std::vector<RegionSublayer> sublayers_;
};

/// One matrix and its bias: (n, l, in) -> (n, l, out), both in the compute dtype. Its input is what the
/// matrix reads, so no norm belongs to it.
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
