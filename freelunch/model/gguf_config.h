#pragma once
#include "checkpoint/gguf.h"
#include "model/config.h"

namespace freelunch::model {

/// Reads the sizes and rotary settings from GGUF metadata; Llama-3 scaling from the tensor rope_freqs.weight.
/// Throws BadFile for missing or mistyped keys, Unsupported for what is not handled.
Config config_from_gguf(const checkpoint::GgufCheckpoint& file, const std::string& name);

}  // namespace freelunch::model
