#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "freelunch/descent/trainable_tensor.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::reconstruct {

/// Gives the mask of the matrix with this Hugging Face name, bool (out, in) on the CPU.
using MaskOf = std::function<at::Tensor(const std::string&)>;

/// A block during training. Matrices have leaves in the compute dtype, other tensors in fp32; the router of a
/// mixture of experts is not trained.
class TrainableBlock {
 public:
  TrainableBlock(const model::WeightView& weights, int64_t index, const MaskOf& mask_of,
                 const backend::Compute& compute, const TrainableSettings& settings);

  /// The block of leaves, for forward passes.
  const model::Block& block() const { return block_; }
  /// One AdamW step of every tensor. Returns the name of the first one whose gradient is not finite, or an
  /// empty string.
  std::string step(const AdamSettings& settings, double rate);
  const std::vector<std::unique_ptr<TrainableTensor>>& tensors() const { return tensors_; }

 private:
  model::Block block_;
  std::vector<std::unique_ptr<TrainableTensor>> tensors_;
};

}  // namespace freelunch::reconstruct
