#pragma once
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "model/architecture.h"

namespace freelunch::model {

// What the Gemma generations share.

/// llama's names with a norm on either side of each half.
const std::vector<PartName>& gemma_names();
/// Scaled embeddings, attention scale, caps, and which blocks attend within the window: those the file lists,
/// or all but every `pattern`th.
void read_gemma(Config& config, const nlohmann::json* hf, int64_t pattern);
/// What read_gemma reads, back into a config.json.
void describe_gemma(const Config& config, nlohmann::json& hf);

}  // namespace freelunch::model
