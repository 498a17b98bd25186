#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace freelunch::checkpoint {

/// SHA-256 (FIPS 180-4) as 64 lowercase hexadecimal digits.
std::string sha256(std::span<const std::byte> data);

/// Of a file's content, read in pieces. Throws Io if it cannot be read.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace freelunch::checkpoint
