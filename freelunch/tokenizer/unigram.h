#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "freelunch/tokenizer/byte_trie.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// Unigram segmentation: the one with the highest total score (Kudo 2018, arXiv 1804.10959), found by the
/// Viterbi algorithm in one pass over the text.
class Unigram {
 public:
  struct Piece {
    std::string text;
    double score;  ///< log-probability
  };
  /// The id of a piece is its index in `pieces`. unknown: the token of a character that is no piece.
  /// byte_fallback: such a character becomes the tokens <0xXX> of its bytes if all of these are pieces.
  /// `file` is for messages.
  Unigram(const std::vector<Piece>& pieces, std::optional<TokenId> unknown, bool byte_fallback,
          std::string_view file);

  /// Appends the ids of one piece of text, equal to those of the `tokenizers` library: consecutive unknown
  /// characters are one unknown token. Throws BadFile if a character is unknown and there is no unknown
  /// token.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

 private:
  void append_unknown(std::string_view characters, std::vector<TokenId>& out) const;

  ByteTrie trie_;
  std::vector<double> scores_;
  double unknown_score_ = 0;
  std::optional<TokenId> unknown_;
  bool byte_fallback_;
  std::string file_;
  std::array<TokenId, 256> fallback_{};
};

}  // namespace freelunch::tokenizer
