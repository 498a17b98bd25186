#pragma once
#include <string>
#include <vector>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/config.h"
#include "freelunch/checkpoint/gguf/gguf.h"

namespace freelunch::model {

/// A size under an integer key, or under an array that holds the same size for each block. Throws
/// Unsupported, naming file and key, if the blocks differ, and BadFile for any other type.
int64_t gguf_size(const checkpoint::GgufMetadata& metadata, const std::string& key, const std::string& name);

/// The keys with the architecture's prefix that config_from_gguf does not read and that change nothing, in
/// file order. Each is either known to be harmless, or has the value that readers assume without it. Throws
/// Unsupported, naming the file, the first other key and its value.
std::vector<std::string> ignored_keys(const checkpoint::GgufMetadata& metadata,
                                      const Architecture& architecture, const Config& config,
                                      const std::string& name);

/// Whether a tensor of a model with rotary positions is no weight, but holds rotary frequencies: those that
/// config_from_gguf reads, or a copy of computed ones, which nothing needs.
bool holds_rotary_frequencies(std::string_view tensor);

}  // namespace freelunch::model
