#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The tokenizer section of GGUF metadata for a tokenizer.json, the other way round of
/// tokenizer_json_from_gguf: byte-level BPE, and what was converted from SentencePiece. `config` is
/// tokenizer_config.json (special tokens), or an empty object. Ids without token, up to `size` (the
/// embedding's rows), become unused tokens. Throws Unsupported for a tokenizer that GGUF has no form for,
/// BadFile for a broken file.
GgufVocabulary vocabulary_of_tokenizer_json(std::string_view text, const nlohmann::json& config, int64_t size,
                                            std::string_view file);

/// Sets the special tokens that `config` (tokenizer_config.json) names and what `tokenizer` puts around a
/// text.
void set_specials(GgufVocabulary& vocabulary, const nlohmann::json& config, const Tokenizer& tokenizer);

}  // namespace freelunch::tokenizer
