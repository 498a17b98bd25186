#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/checkpoint/gguf/gguf_metadata.h"

namespace freelunch::model {

/// The ids of "eos_token_id", a number or a list, in the text of a config.json or generation_config.json;
/// empty without the key. Throws BadFile, naming `file`, for text that is not JSON.
std::vector<int64_t> end_tokens_of(std::string_view text, const std::string& file);

/// The ids of EOS, EOT (end of turn) and EOM (end of message) in GGUF metadata, at which llama.cpp stops.
/// Only ids below `vocabulary`.
std::vector<int64_t> end_tokens_of(const checkpoint::GgufMetadata& metadata, int64_t vocabulary);

/// The id under a key of GGUF metadata. Empty if there is none, or none that a vocabulary of this size has:
/// some writers store -1 for "none".
std::optional<int64_t> special_token(const checkpoint::GgufMetadata& metadata, std::string_view key,
                                     int64_t vocabulary);

/// The keys tokenizer.ggml.*_token_id whose id is outside the vocabulary, one line each, for the user.
std::vector<std::string> unusable_special_tokens(const checkpoint::GgufMetadata& metadata,
                                                 int64_t vocabulary);

}  // namespace freelunch::model
