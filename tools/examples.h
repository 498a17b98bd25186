#pragma once
#include <string>
#include <string_view>

namespace freelunch::tools {

/// The examples at the end of a command's help, one per line; empty for a command without examples. A test in
/// tests/cli runs each of them.
std::string examples_of(std::string_view command);

}  // namespace freelunch::tools
