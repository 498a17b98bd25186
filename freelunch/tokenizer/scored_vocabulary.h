#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/sentencepiece_tokenizer.h"

namespace freelunch::tokenizer {

/// How SentencePiece changes the spaces of a text before it searches for tokens. Each space becomes U+2581.
struct SentencePieceSpaces {
  bool prefix = false;        ///< puts a space in front
  bool remove_extra = false;  ///< removes spaces at both ends and repeated spaces
};

/// The SentencePiece spaces that the normalizer and pre-tokenizer of a tokenizer.json (null if absent) are
/// equivalent to, in the forms that converters from SentencePiece write (Llama, Gemma, Phi-3, Metaspace).
/// Empty if they do anything else.
std::optional<SentencePieceSpaces> sentencepiece_spaces(const nlohmann::json& normalizer,
                                                        const nlohmann::json& pre_tokenizer);

/// Sets scores with which SentencePiece makes the same merges as vocabulary.merges ("left right"): minus the
/// rank of a token's first merge. Tokens and token types must be set. Throws Unsupported if no scores give
/// these merges, because the merges that make a token are not consecutive or not complete.
void set_scores_from_merges(GgufVocabulary& vocabulary, std::string_view file);

/// The GGUF tokenizer of a SentencePiece .model and its companion files. Ids below `size` (the rows of the
/// embedding) without a token become unused tokens. Throws Unsupported for word and character models and for
/// models that normalise characters, BadFile for a broken file and for
/// ids of the model that are not below `size`.
GgufVocabulary vocabulary_of_sentencepiece(std::string_view bytes, const SentencePieceOptions& options,
                                           int64_t size, std::string_view file);

}  // namespace freelunch::tokenizer
