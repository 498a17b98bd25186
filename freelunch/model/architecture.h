#pragma once
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace freelunch::model {

/// What tells one architecture from its relatives. One file each under architectures/; no file format here.
struct Architecture {
  std::string_view name;                ///< as config.json's model_type
  std::string_view hugging_face_class;  ///< as config.json's "architectures"
  std::string_view gguf_name;           ///< as GGUF's general.architecture
  /// GGUF files of this architecture hold the rows of q and k permuted per head (interleaved rotary pairs).
  bool gguf_permutes_rotary = false;
  /// Sets what the generic keys cannot tell. `hf` is config.json's object, or null for a GGUF file.
  void (*adjust)(Config& config, const nlohmann::json* hf) = nullptr;
};

const Architecture& llama();
const Architecture& mistral();
const Architecture& qwen2();

/// Every architecture this version handles.
std::vector<const Architecture*> all_architectures();

/// The architecture of a model_type; throws Unsupported naming it and those that are handled.
const Architecture& architecture_of_model_type(std::string_view model_type, const std::string& file);
/// The architecture of a GGUF's general.architecture; throws Unsupported likewise.
const Architecture& architecture_of_gguf(std::string_view gguf_name, const std::string& file);

}  // namespace freelunch::model
