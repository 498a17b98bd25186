#include <nlohmann/json.hpp>

#include "freelunch/architecture/architectures/gemma.h"

namespace freelunch::model {

/// Gemma 2: norms before and after each sublayer, scores and logits capped, every other block attends within
/// a window. GGUF files hold 1 + w for the norms.
const Architecture& gemma2() {
  static const Architecture architecture{
      .name = "gemma2",
      .hugging_face_class = "Gemma2ForCausalLM",
      .base =
          [] {
            Config base = gemma_base({{}, {.window = 4096}});
            base.max_length = 8192;
            base.attention_soft_cap = 50;
            base.logit_soft_cap = 30;
            return base;
          }(),
      .keys = {.activation = "hidden_activation", .window = "sliding_window"},
      .heads = HeadRule::kDivideWidth,
      .hugging_face = {.roles = gemma_names(), .base_prefix = "model."},
      .gguf = {.name = "gemma2",
               .window_key = "attention.sliding_window",
               .caps_scores = true,
               .caps_logits = true,
               .names = norms_plus_one(gguf_table()),
               .complete =
                   [](Config& config) { complete_gemma(config, {.pattern = 2, .blocks_of_27b = 46}); }},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            read_gemma(config, json, 2);
            read_cap(json, "attn_logit_softcapping", config.attention_soft_cap);
          },
      .write_json =
          [](const Config& config, nlohmann::json& json) {
            write_gemma(config, json);
            const double cap = config.attention_soft_cap;
            json["attn_logit_softcapping"] = cap > 0 ? nlohmann::json(cap) : nlohmann::json();
          }};
  return architecture;
}

}  // namespace freelunch::model
