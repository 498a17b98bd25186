#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/architecture.h"

namespace freelunch::model {

/// Qwen2 and Qwen2.5: biases on q, k and v. The sliding window of their config.json is switched off by
/// use_sliding_window in every released model.
const Architecture& qwen2() {
  static const Architecture architecture{
      .name = "qwen2",
      .hugging_face_class = "Qwen2ForCausalLM",
      .gguf_name = "qwen2",
      .adjust = [](Config& config, const nlohmann::json* hf) {
        config.qkv_bias = true;
        config.sliding_window.reset();
        if (hf != nullptr && hf->value("use_sliding_window", false)) {
          fail(ErrorKind::kUnsupported, "config.json: qwen2 with use_sliding_window is not supported");
        }
      }};
  return architecture;
}

}  // namespace freelunch::model
