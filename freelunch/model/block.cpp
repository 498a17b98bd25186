#include "model/block.h"

namespace freelunch::model {

const at::Tensor& Block::operator[](Part part) const {
  static const at::Tensor kNone;
  const auto it = tensors_.find(part);
  return it == tensors_.end() ? kNone : it->second;
}

std::vector<std::vector<Part>> matrix_groups(const Block& block, Half half) {
  std::vector<std::vector<Part>> groups;
  const auto add = [&](std::initializer_list<Part> candidates) {
    std::vector<Part> present;
    for (const Part part : candidates) {
      if (block[part].defined()) present.push_back(part);
    }
    if (!present.empty()) groups.push_back(std::move(present));
  };
  if (half == Half::kAttention) {
    add({Part::kQuery, Part::kKey, Part::kValue});
    add({Part::kOutput});
    return groups;
  }
  if (!block[Part::kRouter].defined()) {
    add({Part::kGate, Part::kUp});
    add({Part::kDown});
    return groups;
  }
  const auto experts = static_cast<int32_t>(block[Part::kRouter].size(0));
  for (int32_t e = 0; e < experts; ++e) add({{Part::kGate, e}, {Part::kUp, e}});
  for (int32_t e = 0; e < experts; ++e) add({{Part::kDown, e}});
  return groups;
}

}  // namespace freelunch::model
