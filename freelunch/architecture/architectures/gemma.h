#pragma once
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

// What the Gemma generations share.

/// Norms on either side of each sublayer, with 1 + w, and tanh GELU; `layer_types` are those of full
/// attention and of the window.
Config gemma_base(std::vector<LayerType> layer_types);
/// llama's names with a norm on either side of each sublayer.
const std::vector<RoleName>& gemma_names();
/// What a generation's GGUF files leave out.
struct GemmaUnsaid {
  int64_t pattern;        ///< of so many blocks the last attends to all
  int64_t blocks_of_27b;  ///< the size that alone scales attention by its width over its heads
};
/// Scaled embeddings, attention scale, caps, and which blocks attend within the window: those the file lists,
/// or all but every `pattern`th.
void read_gemma(Config& config, const nlohmann::json* hf, const GemmaUnsaid& unsaid);
/// What read_gemma reads, back into a config.json.
void describe_gemma(const Config& config, nlohmann::json& hf);

}  // namespace freelunch::model
