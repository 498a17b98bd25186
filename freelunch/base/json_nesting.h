#pragma once
#include <string_view>

namespace freelunch {

/// Refuses JSON text that is nested deeper than 200 levels, before a parser sees it. The parser copies,
/// compares and writes values by recursion, so a hostile file could overflow the stack. `file` is the file's
/// name for the message. Throws BadFile.
void refuse_deep_nesting(std::string_view text, std::string_view file);

}  // namespace freelunch
