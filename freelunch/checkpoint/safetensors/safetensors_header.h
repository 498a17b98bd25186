#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "freelunch/checkpoint/tensor_info.h"

namespace freelunch::checkpoint {

/// The checked header of one .safetensors file.
struct SafetensorsHeader {
  struct Entry {
    TensorInfo info;
    uint64_t begin;  ///< position of the data in the file
  };

  std::vector<Entry> entries;  ///< by position
  std::map<std::string, std::string> metadata;
};

/// Parses the header and checks that every tensor lies inside the file, directly after the one before it,
/// with as many bytes as shape and dtype need. Messages name the file with `file`. Throws BadFile, and
/// Unsupported for a dtype that DType does not have.
SafetensorsHeader read_safetensors_header(std::span<const std::byte> content, const std::string& file);

/// The tensor-to-shard table of a model.safetensors.index.json. Throws BadFile.
std::map<std::string, std::string> read_safetensors_index(std::span<const std::byte> content,
                                                          const std::string& file);

}  // namespace freelunch::checkpoint
