#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Mistral 7B and its relatives: llama with an optional sliding attention window. GGUF files name
/// them "llama" and have no field for the window.
const Architecture& mistral() {
  static const Architecture architecture{
      .name = "mistral",
      .hugging_face_class = "MistralForCausalLM",
      .base = {.norm_epsilon = 1e-6},
      .hugging_face = {.roles = llama_names(), .base_prefix = "model."},
      .gguf = {.name = "llama", .read = false, .window_key = {}, .names = rotary_pairs(gguf_table())}};
  return architecture;
}

}  // namespace freelunch::model
