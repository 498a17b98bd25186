#include "freelunch/pipeline/run_context.h"

#include <ATen/ATen.h>

#include "freelunch/pipeline/former_tensors.h"
#include "freelunch/pipeline/window_batches.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::pipeline {

reconstruct::BlockMasks RunContext::masks(int64_t block) const {
  reconstruct::BlockMasks masks;
  for (const model::ModelTensor* tensor : model().block_tensors(block)) {
    if (!model::is_prunable(*tensor->role)) continue;
    masks[*tensor->role] = {model::to_device(scratch.get(model::mask_name(tensor->name)), compute.device)};
  }
  return masks;
}

model::Block RunContext::dense_block(int64_t index) const {
  model::Block block = dense().block(teacher_block(index), compute.device, compute.dtype);
  block.index = index;
  return block;
}

std::vector<int64_t> RunContext::removed_before(int64_t block) const {
  std::vector<int64_t> removed;
  const int64_t blocks = model().config().blocks;
  const int64_t end = block < blocks ? teacher_block(block) : teacher.config().blocks;
  for (int64_t b = block == 0 ? 0 : teacher_block(block - 1) + 1; b < end; ++b) removed.push_back(b);
  return removed;
}

model::ActivationStore RunContext::empty_stream(int64_t windows_wanted) const {
  return {activations, {windows_wanted, windows.size(1), model().config().width}, at::kFloat, compute.device};
}

model::ActivationStore RunContext::embed(const model::WeightView& weights) const {
  model::ActivationStore stream = empty_stream(windows.size(0));
  for_each_batch(windows.size(0), held_out, [&](int64_t i, int64_t n, bool) {
    stream.write(i, weights.embed(windows.narrow(0, i, n), compute.device));
  });
  return stream;
}

StreamPair RunContext::streams(const model::Forward& forward, const model::WeightView& weights,
                               bool with_dense) const {
  StreamWalk ours(forward, activations, embed(weights));
  std::optional<StreamWalk> theirs;
  if (with_dense) theirs.emplace(forward, activations, embed(unpruned()));
  return {std::move(ours), std::move(theirs), held_out};
}

model::Block RunContext::before_stage(int64_t index) const {
  model::Block block;
  block.index = index;
  for (const model::ModelTensor* tensor : model().block_tensors(index)) {
    at::Tensor value = former_version(scratch, tensor->name);
    if (!value.defined())
      value =
          model::WeightView(model(), was_added(scratch, tensor->name) ? nullptr : &scratch).tensor(*tensor);
    const at::ScalarType dtype = model::is_prunable(*tensor->role) ? compute.dtype : at::kFloat;
    block.set(*tensor->role, model::to_device(value, compute.device).to(dtype));
  }
  return block;
}

void RunContext::before_change(const std::string& tensor) {
  if (keeps_former) keep_former(scratch, tensor);
}

void RunContext::save_to_scratch(int64_t block, const model::Block& tensors, model::Sublayer sublayer) {
  for (const auto& [role, tensor] : tensors.tensors()) {
    if (model::sublayer_of(role) != sublayer) continue;
    const std::string& name = model().find(block, role)->name;
    before_change(name);
    scratch.put(name, tensor);
  }
}

}  // namespace freelunch::pipeline
