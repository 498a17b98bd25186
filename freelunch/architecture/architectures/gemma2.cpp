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
            base.attention_soft_cap = 50;
            base.logit_soft_cap = 30;
            return base;
          }(),
      .keys = {.activation = "hidden_activation"},
      .hugging_face = {.roles = gemma_names(), .base_prefix = "model."},
      .gguf = {.name = "gemma2",
               .names = norms_plus_one(gguf_table()),
               .complete =
                   [](Config& config) { complete_gemma(config, {.pattern = 2, .blocks_of_27b = 46}); }},
      .read_json = [](Config& config, const nlohmann::json& json) { read_gemma(config, json, 2); },
      .write_json = write_gemma};
  return architecture;
}

}  // namespace freelunch::model
