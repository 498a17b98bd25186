#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Qwen3: a norm on each head's queries and keys, no biases.
const Architecture& qwen3() {
  static const Architecture architecture{
      .name = "qwen3",
      .hugging_face_class = "Qwen3ForCausalLM",
      .base = {.kv_heads = 32,
               .head_dim = 128,
               .max_length = 32768,
               .norm_epsilon = 1e-6,
               .head_norm = HeadNorm::kEach},
      .heads = HeadRule::kAny,
      .hugging_face = {.roles = llama_names(), .base_prefix = "model."},
      .gguf = {.name = "qwen3", .names = gguf_table()},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            refuse_sliding_window(config, json);
            config.qkv_bias = config.output_bias = json.value("attention_bias", false);
          },
      .write_json = [](const Config& config,
                       nlohmann::json& json) { json["attention_bias"] = config.qkv_bias; }};
  return architecture;
}

}  // namespace freelunch::model
