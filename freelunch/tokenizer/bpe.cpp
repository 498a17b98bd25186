#include "freelunch/tokenizer/bpe.h"

#include <bit>
#include <queue>
#include <tuple>

#include "freelunch/base/utf8.h"
#include "freelunch/tokenizer/byte_alphabet.h"

namespace freelunch::tokenizer {
namespace {

constexpr size_t kShort = 48;  // number of symbols up to which scanning is faster than a heap

uint64_t pair_key(TokenId left, TokenId right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32U) | static_cast<uint32_t>(right);
}

uint64_t scramble(uint64_t key) {
  key ^= key >> 32U;
  key *= 0x9e3779b97f4a7c15ULL;
  return key ^ (key >> 29U);
}

}  // namespace

Bpe::Bpe(std::vector<std::string> texts, const std::vector<Merge>& merges, const Options& options)
    : options_(options), texts_(std::move(texts)) {
  index_symbols();
  index_ranks(merges);
  if (options_.unit == Unit::kCharacter && !options_.ignore_merges) index_joins(merges);
}

void Bpe::index_symbols() {
  fallback_.fill(-1);
  if (options_.unit == Unit::kByte) of_symbol_.resize(256, -1);
  for (size_t i = 0; i < texts_.size(); ++i) {
    const std::string& text = texts_[i];
    const auto id = static_cast<TokenId>(i);
    if (text.empty()) continue;
    if (options_.ignore_merges) whole_.emplace(text, id);
    if (const auto byte = byte_of_token(text); options_.byte_fallback && byte) fallback_[*byte] = id;
    if (options_.unit == Unit::kByte) {
      if (text.size() == 1) of_symbol_[static_cast<unsigned char>(text[0])] = id;
    } else if (const CodePoint c = code_point_at(text, 0); c.length == text.size()) {
      if (c.value >= of_symbol_.size()) of_symbol_.resize(c.value + 1, -1);
      of_symbol_[c.value] = id;
    }
  }
}

void Bpe::index_ranks(const std::vector<Merge>& merges) {
  ranks_.resize(std::bit_ceil(merges.size() * 2 + 2));
  mask_ = ranks_.size() - 1;
  uint32_t rank = 0;
  for (const Merge& merge : merges) {
    const uint64_t key = pair_key(merge.left, merge.right);
    uint64_t i = scramble(key) & mask_;
    while (ranks_[i].key != UINT64_MAX && ranks_[i].key != key) i = (i + 1) & mask_;
    // If a pair is listed twice, the later rank counts, as in the `tokenizers` library.
    ranks_[i] = {key, {rank++, merge.result}};
  }
}

void Bpe::index_joins(const std::vector<Merge>& merges) {
  for (const Merge& merge : merges) {
    const std::string& text = texts_[static_cast<size_t>(merge.result)];
    if (text.empty()) continue;
    CodePoint left = code_point_at(text, 0);
    for (size_t i = left.length; i < text.size();) {
      const CodePoint right = code_point_at(text, i);
      joined_.insert(pair_key(static_cast<TokenId>(left.value), static_cast<TokenId>(right.value)));
      i += right.length;
      left = right;
    }
  }
}

size_t Bpe::next_cut(std::string_view piece, size_t begin) const {
  if (options_.unit == Unit::kByte || options_.ignore_merges || begin >= piece.size()) return piece.size();
  CodePoint left = code_point_at(piece, begin);
  for (size_t i = begin + left.length; i < piece.size();) {
    const CodePoint right = code_point_at(piece, i);
    // No cut next to unknown characters: they may be fused.
    if (symbol_of(left.value) >= 0 && symbol_of(right.value) >= 0 &&
        !joined_.contains(pair_key(static_cast<TokenId>(left.value), static_cast<TokenId>(right.value)))) {
      return i;
    }
    i += right.length;
    left = right;
  }
  return piece.size();
}

bool Bpe::append_bytes(std::string_view character, std::vector<TokenId>& symbols) const {
  for (const char byte : character) {
    if (fallback_[static_cast<unsigned char>(byte)] < 0) return false;
  }
  for (const char byte : character) symbols.push_back(fallback_[static_cast<unsigned char>(byte)]);
  return true;
}

void Bpe::append_symbols(std::string_view piece, std::vector<TokenId>& symbols) const {
  bool pending = false;  // the last symbol is an unknown token that the next one may fuse with
  const auto flush = [&] {
    if (pending) symbols.push_back(*options_.unknown);
    pending = false;
  };
  for (size_t i = 0; i < piece.size();) {
    const CodePoint c = options_.unit == Unit::kByte ? CodePoint{static_cast<unsigned char>(piece[i]), 1}
                                                     : code_point_at(piece, i);
    const std::string_view character = piece.substr(i, c.length);
    i += c.length;
    if (const TokenId id = symbol_of(c.value); id >= 0) {
      flush();
      symbols.push_back(id);
    } else if (options_.byte_fallback && append_bytes(character, symbols)) {
      continue;
    } else if (options_.unknown) {
      if (!options_.fuse_unknown) flush();
      pending = true;
    }
  }
  flush();
}

const Bpe::Rank* Bpe::rank_of(TokenId left, TokenId right) const {
  const uint64_t key = pair_key(left, right);
  for (uint64_t i = scramble(key) & mask_; ranks_[i].key != UINT64_MAX; i = (i + 1) & mask_) {
    if (ranks_[i].key == key) return &ranks_[i].rank;
  }
  return nullptr;
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (!whole_.empty()) {
    if (const auto it = whole_.find(piece); it != whole_.end()) {
      out.push_back(it->second);
      return;
    }
  }
  thread_local std::vector<TokenId> symbols;
  symbols.clear();
  append_symbols(piece, symbols);
  if (symbols.size() <= kShort) {
    merge_short(symbols);
  } else {
    merge_long(symbols);
  }
  out.insert(out.end(), symbols.begin(), symbols.end());
}

void Bpe::merge_short(std::vector<TokenId>& symbols) const {
  // ranks[i] is the rank of the pair (i, i + 1). A merge changes only the two pairs next to it.
  const Rank* ranks[kShort];
  for (size_t i = 0; i + 1 < symbols.size(); ++i) ranks[i] = rank_of(symbols[i], symbols[i + 1]);
  size_t n = symbols.size();
  while (n > 1) {
    size_t best = n;
    uint32_t lowest = UINT32_MAX;
    for (size_t i = 0; i + 1 < n; ++i) {
      if (ranks[i] != nullptr && ranks[i]->rank < lowest) {
        lowest = ranks[i]->rank;
        best = i;
      }
    }
    if (best == n) break;
    symbols[best] = ranks[best]->result;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = i + 2 < n ? ranks[i + 1] : nullptr;
    }
    --n;
    if (best + 1 < n) ranks[best] = rank_of(symbols[best], symbols[best + 1]);
    if (best > 0) ranks[best - 1] = rank_of(symbols[best - 1], symbols[best]);
  }
  symbols.resize(n);
}

void Bpe::merge_long(std::vector<TokenId>& symbols) const {
  struct Node {
    TokenId id;
    int64_t previous, next;
  };
  const auto n = static_cast<int64_t>(symbols.size());
  std::vector<Node> nodes(symbols.size());
  using Candidate = std::tuple<uint32_t, int64_t, TokenId, TokenId>;  // rank, position, left, right
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto offer = [&](int64_t i) {
    if (i < 0 || nodes[static_cast<size_t>(i)].next >= n) return;
    const TokenId left = nodes[static_cast<size_t>(i)].id;
    const TokenId right = nodes[static_cast<size_t>(nodes[static_cast<size_t>(i)].next)].id;
    if (const Rank* rank = rank_of(left, right)) queue.emplace(rank->rank, i, left, right);
  };
  for (int64_t i = 0; i < n; ++i)
    nodes[static_cast<size_t>(i)] = {symbols[static_cast<size_t>(i)], i - 1, i + 1};
  for (int64_t i = 0; i + 1 < n; ++i) offer(i);
  while (!queue.empty()) {
    const auto [rank, i, left, right] = queue.top();
    queue.pop();
    Node& node = nodes[static_cast<size_t>(i)];
    if (node.id != left || node.next >= n || nodes[static_cast<size_t>(node.next)].id != right)
      continue;  // a symbol of the pair has changed since
    Node& gone = nodes[static_cast<size_t>(node.next)];
    node.id = rank_of(left, right)->result;
    gone.id = -1;
    node.next = gone.next;
    if (node.next < n) nodes[static_cast<size_t>(node.next)].previous = i;
    offer(i);
    offer(node.previous);
  }
  symbols.clear();
  for (int64_t i = 0; i < n; i = nodes[static_cast<size_t>(i)].next)
    symbols.push_back(nodes[static_cast<size_t>(i)].id);
}

}  // namespace freelunch::tokenizer
