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
    uint64_t begin;  ///< of the data, from the start of the file
  };

  std::vector<Entry> entries;  ///< by position
  std::map<std::string, std::string> metadata;
};

/// Parses and checks the header: every tensor lies inside the file, right after the one before it, with as
/// many bytes as shape and dtype need. `file` names it in messages. Throws BadFile, and Unsupported for a
/// dtype that DType lacks.
SafetensorsHeader read_safetensors_header(std::span<const std::byte> content, const std::string& file);

/// The tensor-to-shard table of a model.safetensors.index.json. Throws BadFile.
std::map<std::string, std::string> read_safetensors_index(std::span<const std::byte> content,
                                                          const std::string& file);

}  // namespace freelunch::checkpoint
