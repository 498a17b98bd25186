#pragma once
#include <string>
#include <string_view>

namespace freelunch::tools {

/// What a user types first: the lines that end the help of a command, one an example; empty for a command
/// without. tests/cli/check_readme.py runs every one.
std::string examples_of(std::string_view command);

}  // namespace freelunch::tools
