#pragma once
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/added_tokens.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// Settings from the companion files of a .model.
struct SentencePieceOptions {
  std::vector<AddedToken>
      added;  ///< in addition to the model's control tokens; ids may exceed those of its pieces
  std::optional<bool> add_bos;  ///< absent: true if the model has BOS
  bool add_eos = false;
  std::optional<bool> add_prefix;   ///< overrides the model's add_dummy_prefix
  bool prefix_after_added = false;  ///< text after an added token gets the prefix again ("legacy")
};

/// A tokenizer from the bytes of a SentencePiece .model (unigram, BPE, word or character). The SentencePiece
/// library does the encoding. Control tokens are recognised in the text: transformers does this, the library
/// alone does not. Throws BadFile for a model that is cut off or inconsistent.
std::unique_ptr<Tokenizer> from_sentencepiece(std::string_view bytes, const SentencePieceOptions& options,
                                              std::string_view file);

}  // namespace freelunch::tokenizer
