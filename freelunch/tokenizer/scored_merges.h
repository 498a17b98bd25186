#pragma once
#include <string>
#include <utility>
#include <vector>

namespace freelunch::tokenizer {

/// A token of a SentencePiece BPE vocabulary.
struct ScoredToken {
  std::string text;
  double score = 0;
  bool mergeable = false;  ///< an ordinary token; bytes, control and user-defined ones are never merged
};

/// SentencePiece merges the pair whose result scores highest. The same as a list of merges in rank order:
/// each way to make a token from two others, by falling score; of one score, the longest left side first.
std::vector<std::pair<std::string, std::string>> merges_from_scores(const std::vector<ScoredToken>& tokens);

}  // namespace freelunch::tokenizer
