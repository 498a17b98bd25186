#pragma once
#include <string>
#include <string_view>

namespace freelunch {

/// Whether a text is valid UTF-8.
bool is_valid_utf8(std::string_view text);
/// The length of the longest beginning that is.
size_t valid_utf8_prefix(std::string_view text);

/// Replaces each maximal subpart of an ill-formed sequence by one U+FFFD (Unicode 15, section 3.9; Python and
/// web browsers do the same).
std::string replace_invalid_utf8(std::string_view text);

/// A code point of valid UTF-8 and its length in bytes.
struct CodePoint {
  char32_t value;
  size_t length;
};
/// The code point that starts at `position`.
CodePoint code_point_at(std::string_view text, size_t position);
/// The position where the code point that ends at `end` (> 0) starts.
size_t last_code_point(std::string_view text, size_t end);
/// Appends a code point to a text.
void append_utf8(std::string& out, char32_t value);

}  // namespace freelunch
