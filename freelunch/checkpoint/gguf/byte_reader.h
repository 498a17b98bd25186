#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "freelunch/base/error.h"

namespace freelunch::checkpoint {

/// Reads consecutive little-endian values and throws BadFile at the end of the file.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> content, std::string file)
      : content_(content), file_(std::move(file)) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return content_.size() - position_; }
  const std::string& file() const { return file_; }

  /// Errors name the value with `what`.
  template <typename T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string read_string(std::string_view what) {
    const auto length = read<uint64_t>(what);
    const std::span<const std::byte> bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  std::span<const std::byte> take(uint64_t size, std::string_view what) {
    if (size > left()) {
      fail(ErrorKind::kBadFile, "gguf: {} has {} bytes, but {} at byte {} needs {}; incomplete download?",
           file_, content_.size(), what, position_, size);
    }
    const auto bytes = content_.subspan(position_, size);
    position_ += size;
    return bytes;
  }

 private:
  std::span<const std::byte> content_;
  std::string file_;
  uint64_t position_ = 0;
};

}  // namespace freelunch::checkpoint
