#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// OLMo 2: norms after each sublayer instead of before, and on all queries and keys together.
const Architecture& olmo2() {
  static const Architecture architecture{
      .name = "olmo2",
      .hugging_face_class = "Olmo2ForCausalLM",
      .gguf_name = "olmo2",
      .base = {.norm_place = NormPlace::kAfter, .head_norm = HeadNorm::kAll},
      .hugging_face = {.parts = with(llama_names(),
                                     {{WeightRole::kAttentionPostNorm, "post_attention_layernorm.weight"},
                                      {WeightRole::kMlpPostNorm, "post_feedforward_layernorm.weight"}}),
                       .base_prefix = "model."},
      .gguf = gguf_table(),
      .adjust =
          [](Config& config, const nlohmann::json* hf) {
            if (hf != nullptr) config.qkv_bias = config.output_bias = hf->value("attention_bias", false);
          },
      .describe = [](const Config& config, nlohmann::json& hf) { hf["attention_bias"] = config.qkv_bias; }};
  return architecture;
}

}  // namespace freelunch::model
