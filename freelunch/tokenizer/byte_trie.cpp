#include "freelunch/tokenizer/byte_trie.h"

#include <algorithm>
#include <numeric>

namespace freelunch::tokenizer {

ByteTrie::ByteTrie(const std::vector<std::string_view>& texts) {
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return texts[a] < texts[b]; });
  // Breadth first. A node stands for the sorted texts [begin, end), whose first `depth` bytes are equal.
  struct Range {
    size_t begin, end, depth;
  };
  std::vector<Range> ranges{{0, order.size(), 0}};
  nodes_.resize(1);
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    for (; begin < end && texts[order[begin]].size() == depth; ++begin) {
      if (depth > 0) nodes_[node].id = static_cast<TokenId>(order[begin]);
    }
    nodes_[node].first = static_cast<uint32_t>(bytes_.size());
    while (begin < end) {
      const char byte = texts[order[begin]][depth];
      size_t after = begin;
      while (after < end && texts[order[after]][depth] == byte) ++after;
      bytes_.push_back(static_cast<uint8_t>(byte));
      targets_.push_back(static_cast<uint32_t>(ranges.size()));
      ++nodes_[node].edges;
      ranges.push_back({begin, after, depth + 1});
      nodes_.emplace_back();
      begin = after;
    }
  }
  for (uint32_t edge = 0; edge < nodes_[0].edges; ++edge) from_root_[bytes_[edge]] = targets_[edge];
}

TokenId ByteTrie::find(std::string_view text) const {
  uint32_t node = 0;
  for (const char c : text) {
    node = step(node, static_cast<uint8_t>(c));
    if (node == 0) return -1;
  }
  return nodes_[node].id;
}

}  // namespace freelunch::tokenizer
