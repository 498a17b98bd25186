#include "freelunch/model/block.h"

#include <utility>

#include "freelunch/base/error.h"

namespace freelunch::model {

const at::Tensor& Block::operator[](WeightRole role) const {
  static const at::Tensor kNone;
  const auto it = tensors_.find(role);
  return it == tensors_.end() ? kNone : it->second;
}

at::Tensor& Block::at(WeightRole role) {
  const auto it = tensors_.find(role);
  if (it == tensors_.end())
    fail(ErrorKind::kInvalidArgument, "block {} has no '{}'", index, short_name(role));
  return it->second;
}

void Block::set(WeightRole role, at::Tensor tensor) {
  if (!tensor.defined())
    fail(ErrorKind::kInvalidArgument, "'{}' of block {} is set to an undefined tensor", short_name(role),
         index);
  tensors_.insert_or_assign(role, std::move(tensor));
}

Block with_matrices_in(const Block& block, at::ScalarType dtype) {
  Block cast = block;
  for (const auto& [role, tensor] : block.tensors()) {
    if (is_prunable(role)) cast.set(role, tensor.to(dtype));
  }
  return cast;
}

std::vector<std::vector<WeightRole>> matrix_groups(const Block& block, Sublayer sublayer) {
  std::vector<std::vector<WeightRole>> groups;
  const auto add = [&](std::initializer_list<WeightRole> candidates) {
    std::vector<WeightRole> present;
    for (const WeightRole role : candidates) {
      if (block[role].defined()) present.push_back(role);
    }
    if (!present.empty()) groups.push_back(std::move(present));
  };
  if (sublayer == Sublayer::kAttention) {
    add({WeightRole::kQuery, WeightRole::kKey, WeightRole::kValue});
    add({WeightRole::kOutput});
    return groups;
  }
  if (!block[WeightRole::kRouter].defined()) {
    add({WeightRole::kGate, WeightRole::kUp});
    add({WeightRole::kDown});
    return groups;
  }
  const auto experts = static_cast<int32_t>(block[WeightRole::kRouter].size(0));
  for (int32_t e = 0; e < experts; ++e) add({{WeightRole::kGate, e}, {WeightRole::kUp, e}});
  for (int32_t e = 0; e < experts; ++e) add({{WeightRole::kDown, e}});
  return groups;
}

}  // namespace freelunch::model
