#pragma once
#include <string>
#include <utility>
#include <vector>

namespace freelunch::tokenizer {

/// A token of a SentencePiece BPE vocabulary.
struct ScoredToken {
  std::string text;
  double score = 0;
  bool mergeable = false;  ///< a normal token; byte, control and user-defined tokens are never merged
};

/// SentencePiece merges the pair whose result has the highest score. This gives the same as a list of merges
/// in rank order: all ways to make a token from two others, sorted by falling score; for equal scores, the
/// longest left side first.
std::vector<std::pair<std::string, std::string>> merges_from_scores(const std::vector<ScoredToken>& tokens);

}  // namespace freelunch::tokenizer
