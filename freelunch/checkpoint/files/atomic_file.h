#pragma once
#include <filesystem>
#include <string_view>

namespace freelunch::checkpoint {

/// Writes a file under a temporary name in the same folder, flushes it and renames it: a reader sees either
/// the old content or the new one, never a part. Throws Io with path and reason.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace freelunch::checkpoint
