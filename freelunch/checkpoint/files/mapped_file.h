#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace freelunch::checkpoint {

/// A whole file mapped read-only into memory.
class MappedFile {
 public:
  /// Messages start with `format` ("safetensors", "gguf"). Throws BadFile if the path does not exist, is a
  /// folder or is an empty file; Io if the operating system refuses.
  MappedFile(const std::filesystem::path& path, std::string_view format);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& name() const { return name_; }

  /// Tells the operating system that these bytes are not needed soon.
  void release(size_t offset, size_t size) const;

 private:
  std::string name_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// True if the content is a Git LFS pointer, the text that stands for a file that was not fetched.
bool looks_like_lfs_pointer(std::span<const std::byte> content);

}  // namespace freelunch::checkpoint
