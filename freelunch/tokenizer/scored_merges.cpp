#include "freelunch/tokenizer/scored_merges.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "freelunch/base/utf8.h"

namespace freelunch::tokenizer {

std::vector<std::pair<std::string, std::string>> merges_from_scores(const std::vector<ScoredToken>& tokens) {
  std::unordered_set<std::string_view> mergeable;
  for (const ScoredToken& token : tokens) {
    if (token.mergeable) mergeable.insert(token.text);
  }
  struct Merge {
    double score;
    std::string_view left, right;
  };
  constexpr size_t kLongest = 512;  // bytes; no text needs a longer token, and it would have many pairs
  std::vector<Merge> merges;
  for (const ScoredToken& token : tokens) {
    const std::string_view text = token.text;
    if (!token.mergeable || text.size() > kLongest) continue;
    for (size_t cut = code_point_at(text, 0).length; cut < text.size();
         cut += code_point_at(text, cut).length) {
      const std::string_view left = text.substr(0, cut);
      const std::string_view right = text.substr(cut);
      if (mergeable.contains(left) && mergeable.contains(right)) merges.push_back({token.score, left, right});
    }
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    return a.score != b.score ? a.score > b.score : a.left.size() > b.left.size();
  });
  std::vector<std::pair<std::string, std::string>> result;
  result.reserve(merges.size());
  for (const Merge& merge : merges) result.emplace_back(merge.left, merge.right);
  return result;
}

}  // namespace freelunch::tokenizer
