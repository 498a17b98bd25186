#pragma once
#include <string_view>

namespace freelunch::text {

/// What the first bytes of a file say it is if it is a known kind that holds no plain text, such as "a
/// Parquet file" with a hint; empty otherwise. 512 bytes are enough.
std::string_view other_file_kind(std::string_view head);

}  // namespace freelunch::text
