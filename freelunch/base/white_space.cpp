#include "freelunch/base/white_space.h"

#include "freelunch/base/utf8.h"

namespace freelunch {

bool is_white_space(char32_t c) {
  if (c <= 0x20) return c == 0x20 || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string_view strip_end(std::string_view text) {
  while (!text.empty()) {
    const size_t last = last_code_point(text, text.size());
    if (!is_white_space(code_point_at(text, last).value)) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

std::string_view strip(std::string_view text) {
  while (!text.empty()) {
    const CodePoint first = code_point_at(text, 0);
    if (!is_white_space(first.value)) break;
    text.remove_prefix(first.length);
  }
  return strip_end(text);
}

bool is_blank(std::string_view text) { return strip(text).empty(); }

}  // namespace freelunch
