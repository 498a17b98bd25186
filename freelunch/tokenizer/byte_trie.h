#pragma once
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// A prefix tree of token texts. Immutable; the edges of a node are stored together, sorted.
class ByteTrie {
 public:
  /// The id of a text is its index. If two texts are equal, the later one counts; empty texts are ignored.
  explicit ByteTrie(const std::vector<std::string_view>& texts);

  /// Calls visit(length in bytes, id) for each token that is a prefix of `text`, shortest first.
  template <typename Visit>
  void for_each_prefix(std::string_view text, Visit&& visit) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      node = step(node, static_cast<uint8_t>(text[i]));
      if (node == 0) return;
      if (nodes_[node].id >= 0) visit(i + 1, nodes_[node].id);
    }
  }
  /// The id of a whole text, or -1 if it is no token.
  TokenId find(std::string_view text) const;

 private:
  struct Node {
    uint32_t first = 0;  // index of its first edge
    uint32_t edges = 0;
    TokenId id = -1;
  };
  /// The node after an edge, or 0 if there is no such edge. 0 is the root, to which no edge leads.
  uint32_t step(uint32_t node, uint8_t byte) const {
    if (node == 0) return from_root_[byte];
    uint32_t low = nodes_[node].first;
    uint32_t high = low + nodes_[node].edges;
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (bytes_[middle] < byte) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low < nodes_[node].first + nodes_[node].edges && bytes_[low] == byte ? targets_[low] : 0;
  }

  std::vector<Node> nodes_;
  std::vector<uint8_t> bytes_;     // by edge
  std::vector<uint32_t> targets_;  // by edge
  std::array<uint32_t, 256> from_root_{};
};

}  // namespace freelunch::tokenizer
