#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// Byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909): the pair of lowest rank is merged first; of
/// equal ranks, the leftmost.
class Bpe {
 public:
  /// The symbols that merging starts from.
  enum class Unit { kByte, kCharacter };
  struct Options {
    Unit unit = Unit::kByte;
    bool ignore_merges = false;      ///< a piece that is itself a token is not merged but becomes that token
    bool byte_fallback = false;      ///< a character that is no token becomes the tokens <0xXX> of its bytes
    std::optional<TokenId> unknown;  ///< the token of other such characters; without it they are left out
    bool fuse_unknown = false;       ///< consecutive unknown characters become one unknown token
  };
  struct Merge {
    TokenId left, right, result;
  };
  /// `texts`: the raw bytes of each id, empty for ids that merging does not use. `merges`: in rank order.
  Bpe(std::vector<std::string> texts, const std::vector<Merge>& merges, const Options& options);

  /// Appends the ids of one piece. They equal those of the `tokenizers` library.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

  /// Cuts a piece at places that no merge can join and calls visit(part) in order. This changes no id;
  /// without a pre-tokenizer it lets a document be encoded word by word.
  template <typename Visit>
  void for_each_part(std::string_view piece, Visit&& visit) const {
    size_t begin = 0;
    for (size_t cut = next_cut(piece, begin); cut < piece.size(); cut = next_cut(piece, begin)) {
      visit(piece.substr(begin, cut - begin));
      begin = cut;
    }
    visit(piece.substr(begin));
  }

 private:
  struct Rank {
    uint32_t rank;
    TokenId result;
  };
  struct Slot {
    uint64_t key = UINT64_MAX;
    Rank rank{};
  };
  void index_symbols();
  void index_ranks(const std::vector<Merge>& merges);
  void index_joins(const std::vector<Merge>& merges);
  TokenId symbol_of(char32_t character) const {
    return character < of_symbol_.size() ? of_symbol_[character] : -1;
  }
  size_t next_cut(std::string_view piece, size_t begin) const;
  void append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const;
  bool append_bytes(std::string_view character, std::vector<TokenId>& symbols) const;
  const Rank* rank_of(TokenId left, TokenId right) const;
  void merge_short(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  Options options_;
  std::vector<std::string> texts_;
  std::unordered_map<std::string_view, TokenId> whole_;  // filled only for ignore_merges
  std::vector<Slot> ranks_;  // hash table with open addressing; its size is a power of two
  uint64_t mask_ = 0;
  std::vector<TokenId> of_symbol_;       // by byte or code point
  std::array<TokenId, 256> fallback_{};  // the ids of <0xXX>
  std::unordered_set<uint64_t> joined_;  // pairs of characters that occur inside a merged token
};

}  // namespace freelunch::tokenizer
