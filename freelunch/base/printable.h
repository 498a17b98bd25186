#pragma once
#include <string>
#include <string_view>

namespace freelunch {

/// Makes text from a file safe to show in a one-line message: control characters, line separators and
/// characters that change the writing direction become '?', bytes that are not UTF-8 become U+FFFD, and a
/// text longer than `longest` bytes is cut there and ends in "...".
std::string printable(std::string_view text, size_t longest = 200);

}  // namespace freelunch
