#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "freelunch/descent/trainable_tensor.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::reconstruct {

/// The mask of a matrix by its Hugging Face name, bool (out, in) on the CPU.
using MaskOf = std::function<at::Tensor(const std::string&)>;

/// A block that is trained.
class TrainableBlock {
 public:
  TrainableBlock(const model::WeightView& weights, int64_t index, const MaskOf& mask_of,
                 const backend::Compute& compute, const TrainableSettings& settings);

  const model::Block& block() const { return block_; }
  /// The name of the first tensor whose gradient is not finite, or nothing.
  std::string step(const AdamSettings& settings, double rate);
  const std::vector<std::unique_ptr<TrainableTensor>>& tensors() const { return tensors_; }

 private:
  model::Block block_;
  std::vector<std::unique_ptr<TrainableTensor>> tensors_;
};

}  // namespace freelunch::reconstruct
