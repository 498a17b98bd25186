#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The tokenizer of a Hugging Face folder, from the first of these that exists: tokenizer.json;
/// tokenizer.model (SentencePiece); vocab.json and merges.txt (GPT-2, OPT). For the last two, added tokens
/// come from tokenizer_config.json, special_tokens_map.json and added_tokens.json. Throws BadFile if none
/// exists, and the errors of the readers.
std::unique_ptr<Tokenizer> from_folder(const std::filesystem::path& folder);

/// The same tokenizer as GGUF metadata; empty if the folder has none. Ids below `size` (the rows of the
/// embedding) without a token become unused tokens. Throws Unsupported for a tokenizer that GGUF cannot
/// express.
std::optional<GgufVocabulary> gguf_vocabulary_of_folder(const std::filesystem::path& folder, int64_t size);

/// The chat template of the folder, from tokenizer_config.json or else chat_template.jinja; empty if there is
/// none.
std::string chat_template_of_folder(const std::filesystem::path& folder);

}  // namespace freelunch::tokenizer
