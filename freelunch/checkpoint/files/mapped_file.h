#pragma once
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace freelunch::checkpoint {

/// A whole file mapped read-only into memory.
class MappedFile {
 public:
  /// `format` ("safetensors", "gguf") starts the messages. Throws BadFile if the path is absent, a folder or
  /// empty, Io if the operating system refuses.
  MappedFile(const std::filesystem::path& path, std::string_view format);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& name() const { return name_; }

  /// Tells the kernel that these bytes of the map are not needed soon.
  void release(size_t offset, size_t size) const;

 private:
  std::string name_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// True if the content starts like the text that Git LFS leaves in place of a file it did not fetch.
bool looks_like_lfs_pointer(std::span<const std::byte> content);

}  // namespace freelunch::checkpoint
