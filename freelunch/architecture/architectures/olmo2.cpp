#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// OLMo 2: norms after each sublayer instead of before, and on all queries and keys together.
const Architecture& olmo2() {
  static const Architecture architecture{
      .name = "olmo2",
      .hugging_face_class = "Olmo2ForCausalLM",
      .base = {.norm_place = NormPlace::kAfter, .head_norm = HeadNorm::kAll},
      .hugging_face = {.roles = with(llama_names(),
                                     {{WeightRole::kAttentionPostNorm, "post_attention_layernorm.weight"},
                                      {WeightRole::kMlpPostNorm, "post_feedforward_layernorm.weight"}}),
                       .base_prefix = "model."},
      .gguf = {.name = "olmo2", .names = gguf_table()},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            config.qkv_bias = config.output_bias = json.value("attention_bias", false);
          },
      .write_json = [](const Config& config,
                       nlohmann::json& json) { json["attention_bias"] = config.qkv_bias; }};
  return architecture;
}

}  // namespace freelunch::model
