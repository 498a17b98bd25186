#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Llama 1, 2 and 3, SmolLM2 and the many models of the same structure. GGUF files hold the rows of q and k
/// permuted.
const Architecture& llama() {
  static const Architecture architecture{
      .name = "llama",
      .hugging_face_class = "LlamaForCausalLM",
      .base = {.norm_epsilon = 1e-6},
      .heads = HeadRule::kDivideWidth,
      .hugging_face = {.roles = llama_names(), .base_prefix = "model."},
      .gguf = {.name = "llama", .factor_tensors = true, .names = rotary_pairs(gguf_table())},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            config.qkv_bias = config.output_bias = json.value("attention_bias", false);
            config.mlp_bias = json.value("mlp_bias", false);
          },
      .write_json =
          [](const Config& config, nlohmann::json& json) {
            json["attention_bias"] = config.qkv_bias;
            json["mlp_bias"] = config.mlp_bias;
          }};
  return architecture;
}

}  // namespace freelunch::model
