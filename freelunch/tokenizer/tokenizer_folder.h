#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The tokenizer of a Hugging Face folder, from the first of these that exists: tokenizer.json;
/// tokenizer.model (SentencePiece); vocab.json and merges.txt (GPT-2, OPT). For the last two, added tokens
/// come from tokenizer_config.json, special_tokens_map.json and added_tokens.json. BOS and EOS are those that
/// transformers takes: named by tokenizer_config.json or special_tokens_map.json, else by the tokenizer's
/// class. Throws BadFile if no tokenizer exists, and the errors of the readers.
std::unique_ptr<Tokenizer> from_folder(const std::filesystem::path& folder);

/// The same tokenizer as GGUF metadata; empty if the folder has none. Ids below `size` (the rows of the
/// embedding) without a token become unused tokens. Throws Unsupported for a tokenizer that GGUF cannot
/// express.
std::optional<GgufVocabulary> gguf_vocabulary_of_folder(const std::filesystem::path& folder, int64_t size);

/// A chat template; "default" is used if none is asked for by name.
struct ChatTemplate {
  std::string name, text;
  bool operator==(const ChatTemplate&) const = default;
};

/// The chat templates of the folder, the default first, the others by name. As transformers reads them: from
/// chat_template.jinja and additional_chat_templates/NAME.jinja (or chat_templates/), if there is any of
/// them, else from tokenizer_config.json, a text or a list of names and texts.
std::vector<ChatTemplate> chat_templates_of_folder(const std::filesystem::path& folder);

}  // namespace freelunch::tokenizer
