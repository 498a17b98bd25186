#include "freelunch/tokenizer/charsmap.h"

#include <cstdint>
#include <cstring>
#include <vector>

namespace freelunch::tokenizer {
namespace {

/// A unit of a Darts-clone double array.
struct Unit {
  uint32_t bits;
  bool has_leaf() const { return ((bits >> 8U) & 1U) == 1; }
  uint32_t value() const { return bits & 0x7FFFFFFFU; }
  uint32_t label() const { return bits & 0x800000FFU; }
  uint32_t offset() const { return (bits >> 10U) << ((bits & 0x200U) >> 6U); }
};

/// SentencePiece stores at most this many matches at one position.
constexpr int kDeepest = 32;

bool is_sound_trie(const std::vector<Unit>& units, size_t texts) {
  std::vector<int> seen(units.size(),
                        -1);  // the last level that a unit was visited on: equal suffixes share units
  std::vector<size_t> level{0};
  for (int depth = 0; !level.empty(); ++depth) {
    if (depth > kDeepest) return false;
    std::vector<size_t> below;
    for (const size_t node : level) {
      const size_t base = node ^ units[node].offset();
      if ((base | 0xFFU) >= units.size()) return false;
      if (units[node].has_leaf() && units[base].value() >= texts) return false;
      for (uint32_t byte = 0; byte < 256; ++byte) {
        const size_t child = base ^ byte;
        if (units[child].label() != byte || (byte == 0 && units[node].has_leaf())) continue;
        if (seen[child] == depth) continue;
        seen[child] = depth;
        below.push_back(child);
      }
    }
    level = std::move(below);
  }
  return true;
}

}  // namespace

bool is_sound_charsmap(std::string_view charsmap) {
  uint32_t size = 0;
  if (charsmap.size() <= sizeof size) return false;
  std::memcpy(&size, charsmap.data(), sizeof size);
  charsmap.remove_prefix(sizeof size);
  if (size == 0 || size % sizeof(Unit) != 0 || size >= charsmap.size() || charsmap.back() != '\0')
    return false;
  std::vector<Unit> units(size / sizeof(Unit));
  std::memcpy(units.data(), charsmap.data(), size);
  return is_sound_trie(units, charsmap.size() - size);
}

}  // namespace freelunch::tokenizer
