#include "reconstruct/trainable_block.h"

#include <ATen/ATen.h>

namespace freelunch::reconstruct {

TrainableBlock::TrainableBlock(const model::Weights& weights, int64_t index, const MaskOf& mask_of,
                               const model::Compute& compute, const TrainableSettings& settings) {
  tensors_.reserve(model::kPartCount);
  for (const model::PartNames& part : model::all_parts()) {
    const model::ModelTensor* found = weights.dense().find(index, part.part);
    if (found == nullptr) continue;
    const at::Tensor kept = part.matrix ? mask_of(found->name).to(compute.device) : at::Tensor();
    tensors_.push_back(trainable(found->name, weights.tensor(*found).to(compute.device), kept,
                                 part.matrix ? compute.dtype : at::kFloat, settings));
    block_[part.part] = tensors_.back()->leaf();
  }
}

std::string TrainableBlock::step(const AdamSettings& settings, double rate) {
  for (const auto& tensor : tensors_) {
    if (!tensor->step(settings, rate)) return tensor->name();
  }
  return "";
}

}  // namespace freelunch::reconstruct
