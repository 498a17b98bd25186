#pragma once
#include <span>
#include <string>
#include <vector>

#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/checkpoint/tensor_info.h"

namespace freelunch::checkpoint {

/// The checked header of one .gguf file.
struct GgufHeader {
  struct Entry {
    TensorInfo info;
    uint64_t begin;  ///< position of the data in the file
  };
  uint32_t version = 0;
  GgufMetadata metadata;
  std::vector<Entry> entries;  ///< in file order
};

/// Parses the header and checks that every tensor lies inside the file and overlaps no other. Messages name
/// the file with `file`. Throws BadFile, and Unsupported for other versions, byte orders and tensor types.
GgufHeader read_gguf_header(std::span<const std::byte> content, const std::string& file);

}  // namespace freelunch::checkpoint
