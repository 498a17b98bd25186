#include "model/gguf_names.h"

#include <array>
#include <utility>

namespace freelunch::model {

std::optional<std::string> gguf_name(const ModelTensor& tensor) {
  if (tensor.part) {
    return "blk." + std::to_string(tensor.block) + "." + std::string(names(*tensor.part).gguf);
  }
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kOutsideBlocks{
      {{"model.embed_tokens.weight", "token_embd.weight"},
       {"model.norm.weight", "output_norm.weight"},
       {"lm_head.weight", "output.weight"}}};
  for (const auto& [hugging_face, gguf] : kOutsideBlocks) {
    if (hugging_face == tensor.name) return std::string(gguf);
  }
  return std::nullopt;
}

}  // namespace freelunch::model
