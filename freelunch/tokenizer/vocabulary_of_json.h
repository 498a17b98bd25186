#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The GGUF tokenizer of a parsed tokenizer.json, the inverse of tokenizer_json_from_gguf(): for byte-level
/// BPE and for tokenizers that were converted from SentencePiece. `config` is tokenizer_config.json (special
/// tokens) or an empty object. Ids below `size` (the rows of the embedding) without a token become unused
/// tokens. Throws Unsupported for a tokenizer that GGUF cannot express, BadFile for a broken file.
GgufVocabulary vocabulary_of_tokenizer_json(const nlohmann::json& root, const nlohmann::json& config,
                                            int64_t size, std::string_view file);

/// Sets the special tokens that `config` (tokenizer_config.json) names, and whether BOS and EOS are added,
/// from `tokenizer`.
void set_specials(GgufVocabulary& vocabulary, const nlohmann::json& config, const Tokenizer& tokenizer);

}  // namespace freelunch::tokenizer
