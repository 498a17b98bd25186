#include <cmath>

#include "model/architectures/gemma.h"

namespace freelunch::model {

/// Gemma 2: norms before and after each half, scores and logits capped, every other block attends within a
/// window. GGUF files hold 1 + w for the norms.
const Architecture& gemma2() {
  static const Architecture architecture{
      .name = "gemma2",
      .hugging_face_class = "Gemma2ForCausalLM",
      .gguf_name = "gemma2",
      .base = {.norm = NormKind::kRmsPlusOne,
               .norm_place = NormPlace::kBeforeAndAfter,
               .norm_epsilon = 1e-6,
               .activation = Activation::kGeluTanh,
               .reaches = {{}, {.window = 4096}},
               .attention_soft_cap = 50,
               .logit_soft_cap = 30,
               .tied_embeddings = true},
      .keys = {.activation = "hidden_activation"},
      .hugging_face = {.parts = gemma_names(), .base_prefix = "model."},
      .gguf = norms_plus_one(gguf_table()),
      .adjust =
          [](Config& config, const nlohmann::json* hf) {
            read_gemma(config, hf, /*pattern=*/2);
            // Gemma 2 27B alone scales by its width over its heads; GGUF files do not say so
            if (hf == nullptr && config.blocks == 46)
              config.attention_scale = 1 / std::sqrt(static_cast<double>(config.width / config.heads));
          },
      .describe = describe_gemma};
  return architecture;
}

}  // namespace freelunch::model
