#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Llama 1, 2 and 3, SmolLM2 and the many models that share their shape. In GGUF files rows of q and k are
/// permuted.
const Architecture& llama() {
  static const Architecture architecture{.name = "llama",
                                         .hugging_face_class = "LlamaForCausalLM",
                                         .gguf_name = "llama",
                                         .base = {.norm_epsilon = 1e-6},
                                         .hugging_face = {.parts = llama_names(), .base_prefix = "model."},
                                         .gguf = rotary_pairs(gguf_table()),
                                         .adjust =
                                             [](Config& config, const nlohmann::json* hf) {
                                               config.layer_types[0].window.reset();
                                               if (hf == nullptr) return;
                                               config.qkv_bias = config.output_bias =
                                                   hf->value("attention_bias", false);
                                               config.mlp_bias = hf->value("mlp_bias", false);
                                             },
                                         .describe =
                                             [](const Config& config, nlohmann::json& hf) {
                                               hf["attention_bias"] = config.qkv_bias;
                                               hf["mlp_bias"] = config.mlp_bias;
                                             }};
  return architecture;
}

}  // namespace freelunch::model
