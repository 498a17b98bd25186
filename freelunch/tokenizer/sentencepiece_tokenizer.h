#pragma once
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/added_tokens.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// What the files beside a .model say.
struct SentencePieceOptions {
  std::vector<AddedToken> added;  ///< besides the model's control tokens; may have ids beyond its pieces
  std::optional<bool> add_bos;    ///< absent: true where the model has BOS
  bool add_eos = false;
  std::optional<bool> add_prefix;   ///< overrides the model's add_dummy_prefix
  bool prefix_after_added = false;  ///< whether text after an added token gets the prefix again ("legacy")
};

/// A tokenizer from the bytes of a SentencePiece .model (unigram, BPE, words or characters), encoded by the
/// SentencePiece library itself. Control tokens are recognised in the text, as transformers does and the
/// library alone does not. Throws BadFile for a model that is cut or inconsistent.
std::unique_ptr<Tokenizer> from_sentencepiece(std::string_view bytes, const SentencePieceOptions& options,
                                              std::string_view file);

}  // namespace freelunch::tokenizer
