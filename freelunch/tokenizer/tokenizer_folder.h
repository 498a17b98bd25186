#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The tokenizer of a Hugging Face folder: tokenizer.json; else tokenizer.model (SentencePiece); else
/// vocab.json and merges.txt (GPT-2, OPT). For the latter two, tokenizer_config.json, special_tokens_map.json
/// and added_tokens.json say what is added. Throws BadFile if there is none of them, and what the readers
/// throw.
std::unique_ptr<Tokenizer> from_folder(const std::filesystem::path& folder);

/// The tokenizer section of GGUF metadata for the same; empty if the folder has no tokenizer. Ids without
/// token, up to `size` (the embedding's rows), become unused tokens. Throws Unsupported for a tokenizer that
/// GGUF has no form for.
std::optional<GgufVocabulary> gguf_vocabulary_of_folder(const std::filesystem::path& folder, int64_t size);

/// The chat template of the same: in tokenizer_config.json, or else in chat_template.jinja; empty without
/// one.
std::string chat_template_of_folder(const std::filesystem::path& folder);

}  // namespace freelunch::tokenizer
