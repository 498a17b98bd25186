#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// Byte-pair merging over raw bytes (Sennrich et al. 2016, arXiv 1508.07909): the pair of lowest rank is
/// merged first, the leftmost where several share it.
class Bpe {
 public:
  /// `bytes`: what each id stands for, empty where it takes no part. `merges`: pairs of ids in rank order and
  /// what they become. ignore_merges: a piece that is a token as a whole is that token.
  struct Merge {
    TokenId left, right, result;
  };
  Bpe(std::vector<std::string> bytes, const std::vector<Merge>& merges, bool ignore_merges);

  /// Appends the ids of one piece. Bytes that no token stands for are left out, as the `tokenizers` library
  /// does without an unknown token.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;
  const std::string& bytes(TokenId id) const { return bytes_[static_cast<size_t>(id)]; }

 private:
  struct Rank {
    uint32_t rank;
    TokenId result;
  };
  const Rank* rank_of(TokenId left, TokenId right) const;
  void merge_short(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  struct Slot {
    uint64_t key = UINT64_MAX;
    Rank rank{};
  };
  std::vector<std::string> bytes_;
  std::unordered_map<std::string_view, TokenId> whole_;  // filled only for ignore_merges
  std::vector<Slot> ranks_;                              // open addressing, a power of two of slots
  uint64_t mask_ = 0;
  std::vector<TokenId> of_byte_;
};

}  // namespace freelunch::tokenizer
