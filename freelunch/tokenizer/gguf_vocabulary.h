#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The tokenizer section of GGUF metadata (keys tokenizer.ggml.*).
struct GgufVocabulary {
  std::string model;  ///< "gpt2": byte-level BPE; "llama": SentencePiece BPE; "t5": SentencePiece unigram
  std::string pre;    ///< names the pre-tokenizer of "gpt2"; its regular expression is not in the file
  std::vector<std::string> tokens;
  std::vector<std::string> merges;  ///< "left right"
  std::vector<int32_t>
      token_types;  ///< 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; may be empty
  std::optional<TokenId> bos, eos, unk, pad;
  std::optional<bool> add_bos, add_eos;
  std::vector<float> scores;              ///< of "llama" and "t5"
  std::optional<bool> add_space_prefix;   ///< SentencePiece's add_dummy_prefix; absent: true
  bool remove_extra_whitespaces = false;  ///< of SentencePiece
  bool has_charsmap = false;              ///< whether SentencePiece normalises characters
};

/// One whose `rows` ids, those of the embedding, have no token yet: unused ones, called [PAD0] and so on.
GgufVocabulary empty_vocabulary(int64_t rows);
/// Gives an id its token. Throws BadFile naming `file` for an id beyond the rows.
void put_token(GgufVocabulary& vocabulary, int64_t id, const std::string& text, int32_t type,
               std::string_view file);

/// The tokenizer that llama.cpp and the original Hugging Face folder have. Throws Unsupported naming a model
/// or pre-tokenizer that is not handled, BadFile for an inconsistent vocabulary.
std::unique_ptr<Tokenizer> from_gguf(const GgufVocabulary& vocabulary, std::string_view file);

/// A complete tokenizer.json of the same tokenizer.
nlohmann::json tokenizer_json_from_gguf(const GgufVocabulary& vocabulary);

/// The tokenizer_config.json beside it; chat_template may be empty.
nlohmann::json tokenizer_config_from_gguf(const GgufVocabulary& vocabulary, const std::string& chat_template);

}  // namespace freelunch::tokenizer
