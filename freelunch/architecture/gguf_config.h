#pragma once
#include "freelunch/architecture/config.h"
#include "freelunch/checkpoint/gguf/gguf.h"

namespace freelunch::model {

/// Reads a configuration from GGUF metadata, and Llama 3 scaling from the tensor rope_freqs.weight. `name`
/// names the file in errors. Throws BadFile for missing or mistyped keys, Unsupported for architectures and
/// features that are not supported.
Config config_from_gguf(const checkpoint::GgufCheckpoint& file, const std::string& name);

/// The keys that config_from_gguf reads, general.architecture first. Throws Unsupported for an architecture
/// without a GGUF form, and for a model that a reader would take for another one. Under llama3 scaling the
/// file also needs the tensor rope_freqs.weight, fp32, with the values of llama3_divisors.
checkpoint::GgufMetadata config_to_gguf(const Config& config);

}  // namespace freelunch::model
