#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Qwen2 and Qwen2.5: biases on q, k and v. The sliding window of their config.json is switched off by
/// use_sliding_window in every released model.
const Architecture& qwen2() {
  static const Architecture architecture{
      .name = "qwen2",
      .hugging_face_class = "Qwen2ForCausalLM",
      .gguf_name = "qwen2",
      .base = {.norm_epsilon = 1e-6, .qkv_bias = true},
      .hugging_face = {.parts = llama_names(), .base_prefix = "model."},
      .gguf = gguf_table(),
      .adjust = [](Config& config, const nlohmann::json* hf) { refuse_sliding_window(config, hf); }};
  return architecture;
}

}  // namespace freelunch::model
