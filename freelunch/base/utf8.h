#pragma once
#include <string>
#include <string_view>

namespace freelunch {

/// Whether a text is valid UTF-8.
bool is_valid_utf8(std::string_view text);

/// Each maximal subpart of an ill-formed sequence becomes one U+FFFD (Unicode 15, section 3.9, the practice
/// that Python and the web follow).
std::string replace_invalid_utf8(std::string_view text);

/// The code point at a position of valid UTF-8, and its length in bytes.
struct CodePoint {
  char32_t value;
  size_t length;
};
CodePoint code_point_at(std::string_view text, size_t position);
/// Start of the code point that ends at `end` (> 0).
size_t last_code_point(std::string_view text, size_t end);
/// Appends a code point.
void append_utf8(std::string& out, char32_t value);

}  // namespace freelunch
