#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The tokenizer in GGUF metadata (keys tokenizer.ggml.*).
struct GgufVocabulary {
  std::string model;  ///< "gpt2": byte-level BPE; "llama": SentencePiece BPE; "t5": SentencePiece unigram
  std::string pre;    ///< name of the pre-tokenizer of "gpt2"; the file does not hold its regular expression
  std::vector<std::string> tokens;
  std::vector<std::string> merges;   ///< "left right"
  std::vector<int32_t> token_types;  ///< as TokenType (token_type.h); may be empty
  std::optional<TokenId> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos;
  std::vector<float> scores;              ///< for "llama" and "t5"
  std::optional<bool> add_space_prefix;   ///< add_dummy_prefix of SentencePiece; absent: true
  bool remove_extra_whitespaces = false;  ///< remove_extra_whitespaces of SentencePiece
  bool has_charsmap = false;              ///< SentencePiece normalises characters
  std::vector<std::string> dropped;       ///< added tokens of a folder beyond the rows of the embedding
};

/// A vocabulary of `rows` ids (the rows of the embedding) that all are unused tokens, called [PAD0] and so
/// on.
GgufVocabulary empty_vocabulary(int64_t rows);
/// Sets the token of an id. Throws BadFile naming `file` if the id is not below the number of rows.
void put_token(GgufVocabulary& vocabulary, int64_t id, const std::string& text, int32_t type,
               std::string_view file);

/// The same for an added token, which is left out and listed as dropped if the embedding has no row for it,
/// as llama.cpp's converter does. Returns whether it was put.
bool put_added_token(GgufVocabulary& vocabulary, int64_t id, const std::string& text, int32_t type,
                     std::string_view file);

/// A tokenizer with the same ids as llama.cpp and the original Hugging Face folder. Throws Unsupported naming
/// a model or pre-tokenizer that is not handled, BadFile for an inconsistent vocabulary.
std::unique_ptr<Tokenizer> from_gguf(const GgufVocabulary& vocabulary, std::string_view file);

/// The same tokenizer as a complete tokenizer.json.
nlohmann::json tokenizer_json_from_gguf(const GgufVocabulary& vocabulary);

/// The tokenizer_config.json for that tokenizer.json, without chat templates.
nlohmann::json tokenizer_config_from_gguf(const GgufVocabulary& vocabulary);

}  // namespace freelunch::tokenizer
