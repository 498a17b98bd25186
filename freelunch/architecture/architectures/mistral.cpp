#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {

/// Mistral 7B and its relatives: llama with an optional sliding attention window. GGUF files name
/// them "llama" and have no field for the window.
const Architecture& mistral() {
  static const Architecture architecture{
      .name = "mistral",
      .hugging_face_class = "MistralForCausalLM",
      .base = {.kv_heads = 8, .max_length = 131072, .norm_epsilon = 1e-6, .layer_types = {{.window = 4096}}},
      .keys = {.window = "sliding_window"},
      .heads = HeadRule::kAny,
      .hugging_face = {.roles = llama_names(), .base_prefix = "model."},
      .gguf = {.name = "llama", .read = false, .factor_tensors = true, .names = rotary_pairs(gguf_table())},
      .read_json = [](Config&, const nlohmann::json& json) {
        if (json.contains("layer_types") && !json["layer_types"].is_null())
          fail(ErrorKind::kUnsupported, "config.json: mistral with layer_types is not supported");
      }};
  return architecture;
}

}  // namespace freelunch::model
