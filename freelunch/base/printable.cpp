#include "freelunch/base/printable.h"

#include <fmt/core.h>

#include <algorithm>

#include "freelunch/base/utf8.h"

namespace freelunch {
namespace {

/// True for characters that break a line, move a terminal's cursor, or change the order in which text is
/// shown.
bool disturbs_a_line(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

}  // namespace

std::string printable(std::string_view text, size_t longest) {
  const bool cut = text.size() > longest;
  if (cut) {
    while (longest > 0 && (static_cast<unsigned char>(text[longest]) & 0xC0U) == 0x80U) --longest;
    text = text.substr(0, longest);
  }
  const std::string valid = replace_invalid_utf8(text);
  std::string shown;
  for (size_t i = 0; i < valid.size();) {
    const CodePoint c = code_point_at(valid, i);
    if (disturbs_a_line(c.value)) {
      shown += '?';
    } else {
      shown.append(valid, i, c.length);
    }
    i += c.length;
  }
  return cut ? shown + "..." : shown;
}

std::string first_of(const std::vector<std::string>& names, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(most, names.size()); ++i)
    text += fmt::format("{}'{}'", i == 0 ? "" : ", ", printable(names[i]));
  if (names.size() > most) text += fmt::format(" and {} more", names.size() - most);
  return text;
}

}  // namespace freelunch
