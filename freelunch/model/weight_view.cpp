#include "freelunch/model/weight_view.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "freelunch/base/error.h"
#include "freelunch/model/layout.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::model {

std::string mask_name(const std::string& tensor) { return tensor + "#mask"; }
std::string pruned_name(const std::string& tensor) { return tensor + "#pruned"; }

bool WeightView::changed(const ModelTensor& tensor) const {
  return changed_ != nullptr &&
         changed_->has(overlay_ == Overlay::kWeights ? tensor.name : mask_name(tensor.name));
}

at::Tensor WeightView::tensor(const ModelTensor& tensor) const {
  if (changed_ == nullptr) return dense_->read(tensor);
  if (overlay_ == Overlay::kPruned) {
    if (changed_->has(pruned_name(tensor.name))) return changed_->get(pruned_name(tensor.name));
    const at::Tensor dense = dense_->read(tensor);
    const std::string mask = mask_name(tensor.name);
    return changed_->has(mask) ? dense * changed_->get(mask) : dense;
  }
  return changed_->has(tensor.name) ? changed_->get(tensor.name) : dense_->read(tensor);
}

bool WeightView::changed(const SavedTensor& tensor) const {
  return std::any_of(tensor.parts.begin(), tensor.parts.end(),
                     [&](const SavedPart& part) { return changed(*part.tensor); });
}

at::Tensor WeightView::assembled(const SavedTensor& saved) const {
  if (saved.is_one_part()) return tensor(*saved.parts[0].tensor);
  at::Tensor whole = at::empty(saved.shape, at::kFloat);
  for (const SavedPart& part : saved.parts) insert(tensor(*part.tensor), part.slice, whole);
  return whole;
}

Block WeightView::block(int64_t index, at::Device device, at::ScalarType matrix_dtype) const {
  Block block;
  block.index = index;
  for (const ModelTensor* found : dense_->block_tensors(index)) {
    const WeightRole role = *found->role;
    block.set(role, to_device(tensor(*found), device).to(is_prunable(role) ? matrix_dtype : at::kFloat));
  }
  return block;
}

Norm WeightView::final_norm(at::Device device) const {
  const Config& c = config();
  if (!c.final_norm) return {.kind = NormKind::kNone};
  return norm_of(c, WeightRole::kFinalNorm,
                 [&](WeightRole role) { return to_device(tensor(*dense_->find(-1, role)), device); });
}

at::Tensor WeightView::rows(const ModelTensor& tensor, const at::Tensor& index, at::Device device) const {
  at::Tensor unique;
  at::Tensor inverse;
  std::tie(unique, inverse, std::ignore) = at::_unique2(index.contiguous(), true, true);
  const int64_t* ids = unique.const_data_ptr<int64_t>();
  const at::Tensor rows = dense_->read_rows(tensor, std::vector<int64_t>(ids, ids + unique.numel()));
  dense_->checkpoint().release(dense_->checkpoint().at(tensor.stored_name));
  std::vector<int64_t> shape = index.sizes().vec();
  shape.push_back(rows.size(1));
  return to_device(rows, device).index_select(0, to_device(inverse.flatten(), device)).view(shape);
}

at::Tensor WeightView::embed(const at::Tensor& tokens, at::Device device, const at::Tensor& positions) const {
  const Config& c = config();
  // A tokenizer may know more tokens than the embedding has rows: an image token, say, that no text contains.
  const int64_t last = tokens.numel() == 0 ? -1 : tokens.max().item<int64_t>();
  if (last >= c.vocabulary) {
    fail(ErrorKind::kBadFile, "a text has the token with id {}, but the embedding of the model has {} rows",
         last, c.vocabulary);
  }
  at::Tensor x = rows(dense_->embedding(), tokens, device);
  if (c.embedding_scale != 1) x.mul_(c.embedding_scale);
  if (c.embedding_width != c.width)
    x = at::linear(x, to_device(tensor(*dense_->find(-1, WeightRole::kProjectIn)), device));
  if (c.positions != PositionKind::kLearned) return x;
  const at::Tensor index = positions.defined() ? positions : at::arange(tokens.size(-1), at::kLong);
  const int64_t longest = index.numel() == 0 ? 0 : index.max().item<int64_t>() + 1;
  if (longest > c.max_length) {
    fail(ErrorKind::kInvalidArgument,
         "windows of {} tokens are longer than the {} positions that the model has learned", longest,
         c.max_length);
  }
  return x.add_(rows(*dense_->find(-1, WeightRole::kPositions), index + c.position_offset, device));
}

Head WeightView::head(const backend::Compute& compute) const {
  const ModelTensor& head = dense_->head();
  const Config& c = config();
  const at::Tensor project =  // hidden -> project -> head is one matrix: (vocabulary, width)
      c.embedding_width != c.width ? tensor(*dense_->find(-1, WeightRole::kProjectOut)) : at::Tensor();
  at::Tensor result =
      at::empty({c.vocabulary, c.width}, at::TensorOptions().dtype(compute.dtype).device(compute.device));
  // Piece by piece: an fp32 copy of the whole head would be the largest tensor of the run.
  constexpr int64_t kRows = 4096;
  for (int64_t row = 0; row < head.shape[0]; row += kRows) {
    const int64_t rows = std::min(kRows, head.shape[0] - row);
    const at::Tensor piece = dense_->read_rows(head, row, rows);
    result.narrow(0, row, rows)
        .copy_(to_device(project.defined() ? at::mm(piece, project) : piece, compute.device));
    // frees the pages read so far
    dense_->checkpoint().release(dense_->checkpoint().at(head.stored_name));
  }
  return {result, c.logit_soft_cap};
}

}  // namespace freelunch::model
