#include "model/weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

namespace freelunch::model {

std::string mask_name(const std::string& tensor) { return tensor + "#mask"; }
std::string pruned_name(const std::string& tensor) { return tensor + "#pruned"; }

bool Weights::changed(const ModelTensor& tensor) const {
  return changed_ != nullptr &&
         changed_->has(overlay_ == Overlay::kWeights ? tensor.name : mask_name(tensor.name));
}

at::Tensor Weights::tensor(const ModelTensor& tensor) const {
  if (changed_ == nullptr) return dense_->read(tensor);
  if (overlay_ == Overlay::kPruned) {
    if (changed_->has(pruned_name(tensor.name))) return changed_->get(pruned_name(tensor.name));
    const at::Tensor dense = dense_->read(tensor);
    const std::string mask = mask_name(tensor.name);
    return changed_->has(mask) ? dense * changed_->get(mask) : dense;
  }
  return changed_->has(tensor.name) ? changed_->get(tensor.name) : dense_->read(tensor);
}

Block Weights::block(int64_t index, at::Device device, at::ScalarType matrix_dtype) const {
  Block block;
  for (const PartNames& part : all_parts()) {
    const ModelTensor* found = dense_->find(index, part.part);
    if (found == nullptr) continue;
    block[part.part] = tensor(*found).to(device, part.matrix ? matrix_dtype : at::kFloat);
  }
  return block;
}

at::Tensor Weights::final_norm(at::Device device) const { return tensor(dense_->final_norm()).to(device); }

at::Tensor Weights::embed(const at::Tensor& tokens, at::Device device) const {
  at::Tensor unique;
  at::Tensor inverse;
  std::tie(unique, inverse, std::ignore) = at::_unique2(tokens.contiguous(), true, true);
  const int64_t* ids = unique.const_data_ptr<int64_t>();
  const at::Tensor rows =
      dense_->read_rows(dense_->embedding(), std::vector<int64_t>(ids, ids + unique.numel()));
  dense_->checkpoint().release(dense_->checkpoint().at(dense_->embedding().stored_name));
  std::vector<int64_t> shape = tokens.sizes().vec();
  shape.push_back(rows.size(1));
  return rows.to(device).index_select(0, inverse.flatten().to(device)).view(shape);
}

at::Tensor Weights::head(const Compute& compute) const {
  const ModelTensor& head = dense_->head();
  at::Tensor result = at::empty(head.shape, at::TensorOptions().dtype(compute.dtype).device(compute.device));
  // Piece by piece: an fp32 copy of the whole head would be the largest tensor of the run.
  constexpr int64_t kRows = 4096;
  for (int64_t row = 0; row < head.shape[0]; row += kRows) {
    const int64_t rows = std::min(kRows, head.shape[0] - row);
    result.narrow(0, row, rows).copy_(dense_->read_rows(head, row, rows));
    // what was read so far: its pages need not add up
    dense_->checkpoint().release(dense_->checkpoint().at(head.stored_name));
  }
  return result;
}

}  // namespace freelunch::model
