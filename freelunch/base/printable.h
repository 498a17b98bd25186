#pragma once
#include <string>
#include <string_view>

namespace freelunch {

/// Text from a file made fit for a one-line message: control characters, line separators and characters that
/// turn the writing direction become '?', bytes that are not UTF-8 become U+FFFD, and what exceeds `longest`
/// bytes is cut to "...".
std::string printable(std::string_view text, size_t longest = 200);

}  // namespace freelunch
