#pragma once
#include <string_view>

namespace freelunch {

/// Whether Python calls a character white space: str.isspace(), str.strip(), str.split() and \s of its
/// regular expressions agree. These are Unicode's bidirectional types WS, B and S and the category Zs, 29
/// characters; C's isspace() has six of them.
bool is_white_space(char32_t c);

/// Python's str.rstrip(), str.strip() and `not text.strip()`, of valid UTF-8.
std::string_view strip_end(std::string_view text);
std::string_view strip(std::string_view text);
bool is_blank(std::string_view text);

}  // namespace freelunch
