#include "freelunch/structure/units.h"

#include <ATen/ATen.h>

namespace freelunch::structure {
namespace {

using model::Block;
using model::WeightRole;

void keep(Block& block, WeightRole role, int64_t dim, const at::Tensor& index) {
  if (block[role].defined()) block.set(role, block[role].index_select(dim, index));
}

}  // namespace

void keep_channels(Block& block, int32_t expert, const at::Tensor& channels) {
  for (const WeightRole::Kind kind : {WeightRole::kGate, WeightRole::kUp})
    keep(block, {kind, expert}, 0, channels);
  if (expert < 0) {
    for (const WeightRole::Kind kind : {WeightRole::kGateBias, WeightRole::kUpBias})
      keep(block, kind, 0, channels);
  }
  keep(block, {WeightRole::kDown, expert}, 1, channels);
}

void keep_heads(Block& block, const at::Tensor& query_heads, const at::Tensor& kv_heads, int64_t head_dim) {
  const at::Tensor queries = columns_of(query_heads, head_dim);
  const at::Tensor keys = columns_of(kv_heads, head_dim);
  for (const WeightRole::Kind kind : {WeightRole::kQuery, WeightRole::kQueryBias})
    keep(block, kind, 0, queries);
  for (const WeightRole::Kind kind :
       {WeightRole::kKey, WeightRole::kKeyBias, WeightRole::kValue, WeightRole::kValueBias})
    keep(block, kind, 0, keys);
  keep(block, WeightRole::kOutput, 1, queries);
}

void keep_experts(Block& block, const at::Tensor& experts) {
  Block kept;
  kept.index = block.index;
  for (const auto& [role, tensor] : block.tensors()) {
    if (role.expert < 0) kept.set(role, tensor);
  }
  const at::Tensor index = experts.cpu();
  for (int64_t i = 0; i < index.size(0); ++i) {
    const auto from = static_cast<int32_t>(index[i].item<int64_t>());
    for (const WeightRole::Kind kind : {WeightRole::kGate, WeightRole::kUp, WeightRole::kDown})
      kept.set({kind, static_cast<int32_t>(i)}, block.at({kind, from}));
  }
  keep(kept, WeightRole::kRouter, 0, experts);
  block = std::move(kept);
}

at::Tensor columns_of(const at::Tensor& units, int64_t size) {
  const at::Tensor offsets = at::arange(size, units.options());
  return (units.unsqueeze(1) * size + offsets).flatten();
}

}  // namespace freelunch::structure
