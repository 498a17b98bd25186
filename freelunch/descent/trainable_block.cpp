#include "freelunch/descent/trainable_block.h"

#include <ATen/ATen.h>

#include "freelunch/storage/transfer.h"

namespace freelunch::reconstruct {

TrainableBlock::TrainableBlock(const model::WeightView& weights, int64_t index, const MaskOf& mask_of,
                               const backend::Compute& compute, const TrainableSettings& settings) {
  block_.index = index;
  for (const model::ModelTensor* found : weights.dense().block_tensors(index)) {
    const model::WeightRole role = *found->role;
    const bool matrix = model::is_prunable(role);
    const at::Tensor value = model::to_device(weights.tensor(*found), compute.device);
    const at::ScalarType dtype = matrix ? compute.dtype : at::kFloat;
    if (role == model::WeightRole::kRouter) {  // which expert a token reaches stays as the dense model has it
      tensors_.push_back(frozen(found->name, value, dtype));
    } else {
      const at::Tensor retained =
          matrix ? model::to_device(mask_of(found->name), compute.device) : at::Tensor();
      tensors_.push_back(trainable(found->name, value, retained, dtype, settings));
    }
    block_.set(role, tensors_.back()->leaf());
  }
}

std::string TrainableBlock::step(const AdamSettings& settings, double rate) {
  for (const auto& tensor : tensors_) {
    if (!tensor->step(settings, rate)) return tensor->name();
  }
  return "";
}

}  // namespace freelunch::reconstruct
