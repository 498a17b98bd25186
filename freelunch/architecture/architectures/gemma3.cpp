#include <nlohmann/json.hpp>

#include "freelunch/architecture/architectures/gemma.h"

namespace freelunch::model {

/// Gemma 3, text: as Gemma 2 with norms on queries and keys instead of caps, five blocks in six attend within
/// a window and have a RoPE base of their own. GGUF files hold 1 + w for the norms.
const Architecture& gemma3() {
  static const Architecture architecture{
      .name = "gemma3_text",
      .hugging_face_class = "Gemma3ForCausalLM",
      .base =
          [] {
            Config base = gemma_base({{.rope_theta = 1e6}, {.rope_theta = 1e4, .window = 4096}});
            base.max_length = 131072;
            base.head_norm = HeadNorm::kEach;
            return base;
          }(),
      .keys = {.activation = "hidden_activation",
               .window_rope_theta = "rope_local_base_freq",
               .window = "sliding_window"},
      .heads = HeadRule::kDivideWidth,
      .rope_of_each_layer_type = true,
      .hugging_face = {.roles = gemma_names(), .base_prefix = "model."},
      .gguf = {.name = "gemma3",
               .window_key = "attention.sliding_window",
               .caps_logits = true,
               .names = norms_plus_one(gguf_table()),
               .complete =
                   [](Config& config) { complete_gemma(config, {.pattern = 6, .blocks_of_27b = 62}); }},
      // as in transformers, config.json may name a cap of the scores, but attention has none
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            read_gemma(config, json, json.value("sliding_window_pattern", int64_t{6}));
          },
      .write_json = write_gemma};
  return architecture;
}

}  // namespace freelunch::model
