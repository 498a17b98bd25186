#include <nlohmann/json.hpp>

#include "model/architecture.h"

namespace freelunch::model {

/// Llama 1, 2 and 3, SmolLM2 and the many models that share their shape.
const Architecture& llama() {
  static const Architecture architecture{.name = "llama",
                                         .hugging_face_class = "LlamaForCausalLM",
                                         .gguf_name = "llama",
                                         .gguf_permutes_rotary = true,
                                         .adjust = [](Config& config, const nlohmann::json* hf) {
                                           config.sliding_window.reset();
                                           if (hf == nullptr) return;
                                           config.qkv_bias = config.output_bias =
                                               hf->value("attention_bias", false);
                                           config.mlp_bias = hf->value("mlp_bias", false);
                                         }};
  return architecture;
}

}  // namespace freelunch::model
