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

/// Byte-pair merging (Sennrich et al. 2016, arXiv 1508.07909): the pair of lowest rank is merged first, the
/// leftmost where several share it.
class Bpe {
 public:
  /// What merging starts from.
  enum class Unit { kByte, kCharacter };
  struct Options {
    Unit unit = Unit::kByte;
    bool ignore_merges = false;      ///< a piece that is a token as a whole is that token
    bool byte_fallback = false;      ///< a character that is no token becomes the tokens <0xXX> of its bytes
    std::optional<TokenId> unknown;  ///< and otherwise this; without it, it is left out
    bool fuse_unknown = false;       ///< neighbouring unknown characters become one unknown token
  };
  struct Merge {
    TokenId left, right, result;
  };
  /// `texts`: what each id stands for (raw bytes), empty where it takes no part. `merges`: in rank order.
  Bpe(std::vector<std::string> texts, const std::vector<Merge>& merges, const Options& options);

  /// Appends the ids of one piece, as the `tokenizers` library does.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

  /// Cuts a piece where no merge can join what is on both sides, which changes no id: a document that no
  /// pre-tokenizer cuts is then encoded word by word. Calls visit(part) in order.
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
  std::vector<Slot> ranks_;                              // open addressing, a power of two of slots
  uint64_t mask_ = 0;
  std::vector<TokenId> of_symbol_;       // by byte or code point
  std::array<TokenId, 256> fallback_{};  // the ids of <0xXX>
  std::unordered_set<uint64_t> joined_;  // character pairs that stand inside some merged token
};

}  // namespace freelunch::tokenizer
