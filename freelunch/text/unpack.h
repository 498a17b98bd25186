#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace freelunch::text {

/// The bytes of a file, one part after the other.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  /// Fills the beginning of `out`; returns the number of bytes, 0 at the end only. Throws BadFile if the file
  /// is damaged or truncated, Unsupported if unpacking needs more than 256 MiB of memory.
  virtual size_t read(std::span<char> out) = 0;
};

/// Opens a file that may be compressed with gzip, zstd, bzip2 or xz, which its first bytes say, whatever its
/// name is; any number of compressed parts may follow each other. The file is read once, from its beginning,
/// so that a pipe will do. Throws BadFile if there is no such file, Io if it cannot be opened.
std::unique_ptr<ByteStream> open_unpacked(const std::filesystem::path& path);

}  // namespace freelunch::text
