#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {

/// Qwen2 and Qwen2.5: biases on q, k and v. The sliding window of their config.json is switched off by
/// use_sliding_window in every released model.
const Architecture& qwen2() {
  static const Architecture architecture{
      .name = "qwen2",
      .hugging_face_class = "Qwen2ForCausalLM",
      .base = {.kv_heads = 32, .max_length = 32768, .norm_epsilon = 1e-6, .qkv_bias = true},
      .hugging_face = {.roles = llama_names(), .base_prefix = "model."},
      .gguf = {.name = "qwen2", .names = gguf_table()},
      .read_json = [](Config& config, const nlohmann::json& json) { refuse_sliding_window(config, json); }};
  return architecture;
}

}  // namespace freelunch::model
