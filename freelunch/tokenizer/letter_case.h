#pragma once
#include <string>

namespace freelunch::tokenizer {

/// UTF-8 text with its first character in title case and all others in lower case, by the rules of Unicode.
std::string capitalize(const std::string& text);

}  // namespace freelunch::tokenizer
