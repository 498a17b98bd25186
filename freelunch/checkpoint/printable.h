#pragma once
#include <string>
#include <string_view>

namespace freelunch::checkpoint {

/// Text from a file made fit for a one-line message: control characters and bytes that are not UTF-8 become
/// '?', and what exceeds 200 bytes is cut to "...".
std::string printable(std::string_view text);

}  // namespace freelunch::checkpoint
