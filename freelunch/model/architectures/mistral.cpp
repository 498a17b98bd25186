#include <nlohmann/json.hpp>

#include "model/architecture.h"

namespace freelunch::model {

/// Mistral 7B and its relatives: llama with an optional sliding attention window. In GGUF files they call
/// themselves llama.
const Architecture& mistral() {
  static const Architecture architecture{.name = "mistral",
                                         .hugging_face_class = "MistralForCausalLM",
                                         .gguf_name = "",
                                         .gguf_permutes_rotary = true};
  return architecture;
}

}  // namespace freelunch::model
