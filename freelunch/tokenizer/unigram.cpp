#include "freelunch/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"
#include "freelunch/tokenizer/byte_alphabet.h"

namespace freelunch::tokenizer {
namespace {

/// An unknown character scores this much less than the worst piece (SentencePiece's kUnkPenalty).
constexpr double kUnknownPenalty = 10.0;

std::vector<std::string_view> texts_of(const std::vector<Unigram::Piece>& pieces) {
  std::vector<std::string_view> texts;
  texts.reserve(pieces.size());
  for (const Unigram::Piece& piece : pieces) texts.push_back(piece.text);
  return texts;
}

}  // namespace

Unigram::Unigram(const std::vector<Piece>& pieces, std::optional<TokenId> unknown, bool byte_fallback,
                 std::string_view file)
    : trie_(texts_of(pieces)), unknown_(unknown), byte_fallback_(byte_fallback), file_(file) {
  fallback_.fill(-1);
  double lowest = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < pieces.size(); ++i) {
    scores_.push_back(pieces[i].score);
    lowest = std::min(lowest, pieces[i].score);
    if (const auto byte = byte_of_token(pieces[i].text)) fallback_[*byte] = static_cast<TokenId>(i);
  }
  unknown_score_ = lowest - kUnknownPenalty;
}

void Unigram::append_unknown(std::string_view characters, std::vector<TokenId>& out) const {
  if (const TokenId id = trie_.find(characters); id >= 0) {
    out.push_back(id);
    return;
  }
  const auto has_token = [&](char c) { return fallback_[static_cast<unsigned char>(c)] >= 0; };
  if (byte_fallback_ && std::all_of(characters.begin(), characters.end(), has_token)) {
    for (const char c : characters) out.push_back(fallback_[static_cast<unsigned char>(c)]);
  } else {
    out.push_back(*unknown_);
  }
}

void Unigram::encode(std::string_view piece, std::vector<TokenId>& out) const {
  constexpr size_t kNowhere = std::numeric_limits<size_t>::max();
  struct Node {
    double score = 0;  // of the best path that ends here
    size_t begin = kNowhere;
    TokenId id = -1;  // of its last token
  };
  std::vector<Node> ends(piece.size() + 1);
  const auto offer = [&](size_t begin, size_t end, double score, TokenId id) {
    const double total = score + ends[begin].score;
    if (ends[end].begin == kNowhere || total > ends[end].score) ends[end] = {total, begin, id};
  };
  for (size_t i = 0; i < piece.size();) {
    const size_t length = code_point_at(piece, i).length;
    bool known = false;
    trie_.for_each_prefix(piece.substr(i), [&](size_t size, TokenId id) {
      offer(i, i + size, scores_[static_cast<size_t>(id)], id);
      known = known || size == length;
    });
    if (!known) {
      if (!unknown_) {
        fail(ErrorKind::kBadFile, "{}: no token for '{}' and no unk_id for unknown characters", file_,
             piece.substr(i, length));
      }
      offer(i, i + length, unknown_score_, *unknown_);
    }
    i += length;
  }
  std::vector<std::pair<size_t, size_t>> path;  // last to first
  const auto is_unknown = [&](size_t end) { return unknown_ && ends[end].id == *unknown_; };
  for (size_t end = piece.size(); end > 0;) {
    size_t begin = ends[end].begin;
    while (is_unknown(end) && begin > 0 && is_unknown(begin)) begin = ends[begin].begin;
    path.emplace_back(begin, end);
    end = begin;
  }
  for (auto it = path.rbegin(); it != path.rend(); ++it) {
    const auto [begin, end] = *it;
    if (is_unknown(end)) {
      append_unknown(piece.substr(begin, end - begin), out);
    } else {
      out.push_back(ends[end].id);
    }
  }
}

}  // namespace freelunch::tokenizer
