#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Qwen3: a norm on each head's queries and keys, no biases.
const Architecture& qwen3() {
  static const Architecture architecture{
      .name = "qwen3",
      .hugging_face_class = "Qwen3ForCausalLM",
      .gguf_name = "qwen3",
      .base = {.norm_epsilon = 1e-6, .head_norm = HeadNorm::kEach},
      .hugging_face = {.parts = llama_names(), .base_prefix = "model."},
      .gguf = gguf_table(),
      .adjust =
          [](Config& config, const nlohmann::json* hf) {
            refuse_sliding_window(config, hf);
            if (hf != nullptr) config.qkv_bias = config.output_bias = hf->value("attention_bias", false);
          },
      .describe = [](const Config& config, nlohmann::json& hf) { hf["attention_bias"] = config.qkv_bias; }};
  return architecture;
}

}  // namespace freelunch::model
