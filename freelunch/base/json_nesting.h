#pragma once
#include <string_view>

namespace freelunch {

/// Refuses JSON text that is nested more than 200 deep, before a parser sees it: values are copied, compared
/// and written by recursion, which a hostile file would drive through the stack. `file` names it in the
/// message. Throws BadFile.
void refuse_deep_nesting(std::string_view text, std::string_view file);

}  // namespace freelunch
