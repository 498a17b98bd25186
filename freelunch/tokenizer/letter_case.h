#pragma once
#include <string>

namespace freelunch::tokenizer {

/// The first character in title case, all others in lower case, by Unicode's rules; UTF-8 in and out.
std::string capitalize(const std::string& text);

}  // namespace freelunch::tokenizer
