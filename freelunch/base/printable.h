#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace freelunch {

/// Makes text from a file safe to show in a one-line message: control characters, line separators and
/// characters that change the writing direction become '?', bytes that are not UTF-8 become U+FFFD, and a
/// text longer than `longest` bytes is cut there and ends in "...".
std::string printable(std::string_view text, size_t longest = 200);

/// "'a', 'b', 'c' and 12 more": the first `most` of some names, each printable, for one line of a message.
std::string first_of(const std::vector<std::string>& names, size_t most = 3);

}  // namespace freelunch
