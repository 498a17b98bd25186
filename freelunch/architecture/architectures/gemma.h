#pragma once
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

// Shared by the generations of Gemma.

/// RMS norms with 1 + w before and after each sublayer, tanh GELU. `layer_types` holds full attention first,
/// then the sliding window.
Config gemma_base(std::vector<LayerType> layer_types);
/// Llama's names, with norms before and after each sublayer.
const std::vector<RoleName>& gemma_names();
/// Reads the attention scale, the cap of the logits, and which blocks have the window: those that config.json
/// lists, otherwise all but every `pattern`th. Scales embeddings.
void read_gemma(Config& config, const nlohmann::json& json, int64_t pattern);
/// Reads a cap; null: none. Throws BadFile for one that is not positive.
void read_cap(const nlohmann::json& json, const char* key, double& cap);
/// Writes to config.json what read_gemma reads.
void write_gemma(const Config& config, nlohmann::json& json);
/// What the GGUF files of a generation leave unsaid.
struct GemmaGguf {
  int64_t pattern;  ///< every `pattern`th block has full attention, the others have the window
  int64_t
      blocks_of_27b;  ///< the 27B model, known by this many blocks, scales attention by (width / heads)^-0.5
};
/// Sets it, and scales embeddings.
void complete_gemma(Config& config, const GemmaGguf& implied);

}  // namespace freelunch::model
