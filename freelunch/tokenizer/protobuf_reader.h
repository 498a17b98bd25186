#pragma once
#include <cstdint>
#include <cstring>
#include <string_view>

#include "freelunch/base/error.h"

namespace freelunch::tokenizer {

/// Walks the fields of one protocol-buffer message (protobuf.dev/programming-guides/encoding) without
/// copying. Throws BadFile naming the file if the bytes end early or are no field.
class ProtobufReader {
 public:
  ProtobufReader(std::string_view bytes, std::string_view file) : rest_(bytes), file_(file) {}

  struct Field {
    uint64_t number = 0;
    uint64_t value = 0;      ///< of a varint, or the bits of a fixed-width value
    std::string_view bytes;  ///< of a length-delimited field
    std::string_view whole;  ///< tag and content, unchanged
  };
  /// False at the end.
  bool next(Field& field) {
    if (rest_.empty()) return false;
    const std::string_view start = rest_;
    const uint64_t tag = varint();
    field = {.number = tag >> 3U, .value = 0, .bytes = {}, .whole = {}};
    switch (tag & 7U) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.value = fixed(8);
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.value = fixed(4);
        break;
      default:
        fail(ErrorKind::kBadFile, "{}: not a protocol buffer (wire type {})", file_, tag & 7U);
    }
    field.whole = start.substr(0, start.size() - rest_.size());
    return true;
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > rest_.size()) {
      fail(ErrorKind::kBadFile, "{}: truncated, a field of {} bytes where {} are left", file_, size,
           rest_.size());
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 0x7FU) << shift;
      if (byte < 0x80) return value;
    }
    fail(ErrorKind::kBadFile, "{}: not a protocol buffer (a number of more than 64 bits)", file_);
  }
  uint64_t fixed(size_t size) {
    uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);
    return value;
  }

  std::string_view rest_;
  std::string_view file_;
};

}  // namespace freelunch::tokenizer
