#pragma once
#include "freelunch/checkpoint/gguf/gguf.h"
#include "freelunch/architecture/config.h"

namespace freelunch::model {

/// Reads the sizes and rotary settings from GGUF metadata; Llama-3 scaling from the tensor rope_freqs.weight.
/// Throws BadFile for missing or mistyped keys, Unsupported for what is not handled.
Config config_from_gguf(const checkpoint::GgufCheckpoint& file, const std::string& name);

/// The keys that config_from_gguf reads, in a metadata section of their own, general.architecture first.
/// Throws Unsupported for an architecture that GGUF has no name for. Under llama3 scaling the file also needs
/// the tensor rope_freqs.weight, fp32, with llama3_divisors.
checkpoint::GgufMetadata config_to_gguf(const Config& config);

}  // namespace freelunch::model
