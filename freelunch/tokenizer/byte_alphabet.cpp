#include "freelunch/tokenizer/byte_alphabet.h"

#include "freelunch/base/utf8.h"

namespace freelunch::tokenizer {
namespace {

std::array<char32_t, 256> code_points() {
  std::array<char32_t, 256> points{};
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
    points[b] = printable ? b : next++;
  }
  return points;
}

}  // namespace

const std::array<std::string, 256>& byte_alphabet() {
  static const std::array<std::string, 256> alphabet = [] {
    std::array<std::string, 256> spelled;
    const auto points = code_points();
    for (size_t b = 0; b < 256; ++b) append_utf8(spelled[b], points[b]);
    return spelled;
  }();
  return alphabet;
}

std::optional<std::string> bytes_of_token(std::string_view spelled) {
  static const std::array<int, 0x200> inverse = [] {
    std::array<int, 0x200> table{};
    table.fill(-1);
    const auto points = code_points();
    for (size_t b = 0; b < 256; ++b) table[points[b]] = static_cast<int>(b);
    return table;
  }();
  std::string bytes;
  for (size_t i = 0; i < spelled.size();) {
    const CodePoint c = code_point_at(spelled, i);
    if (c.value >= inverse.size() || inverse[c.value] < 0) return std::nullopt;
    bytes += static_cast<char>(inverse[c.value]);
    i += c.length;
  }
  return bytes;
}

std::optional<uint8_t> byte_of_token(std::string_view spelled) {
  if (spelled.size() != 6 || !spelled.starts_with("<0x") || spelled[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char digit : spelled.substr(3, 2)) {
    const size_t found = std::string_view("0123456789ABCDEF").find(digit);
    if (found == std::string_view::npos) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(found);
  }
  return static_cast<uint8_t>(value);
}

}  // namespace freelunch::tokenizer
