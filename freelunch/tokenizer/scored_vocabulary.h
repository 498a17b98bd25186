#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string_view>

#include "freelunch/tokenizer/gguf_vocabulary.h"
#include "freelunch/tokenizer/sentencepiece_tokenizer.h"

namespace freelunch::tokenizer {

/// What SentencePiece does to the spaces of a text before it looks for tokens; each becomes U+2581.
struct SentencePieceSpaces {
  bool prefix = false;        ///< a space is put in front
  bool remove_extra = false;  ///< spaces at both ends and repeated ones are taken away
};

/// Whether the normalizer and pre-tokenizer of a tokenizer.json (null where absent) do nothing else than
/// that: the forms that converters from SentencePiece write (Llama, Gemma, Phi-3, Metaspace). Empty if they
/// do.
std::optional<SentencePieceSpaces> sentencepiece_spaces(const nlohmann::json& normalizer,
                                                        const nlohmann::json& pre_tokenizer);

/// Gives the tokens scores with which SentencePiece makes the same merges: minus the rank of a token's first
/// merge. Tokens and their types must be there; `merges` are "left right". Throws Unsupported if no scores
/// do, because the ways to make a token are not next to each other in the list or not all there.
void set_scores_from_merges(GgufVocabulary& vocabulary, std::string_view file);

/// The tokenizer section of GGUF metadata for a SentencePiece .model and what stands beside it. Ids without
/// token, up to `size` (the embedding's rows), become unused tokens. Throws Unsupported for words and
/// characters as tokens and for models that normalise characters, BadFile for a broken file and for ids
/// beyond `size`.
GgufVocabulary vocabulary_of_sentencepiece(std::string_view bytes, const SentencePieceOptions& options,
                                           int64_t size, std::string_view file);

}  // namespace freelunch::tokenizer
