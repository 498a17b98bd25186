#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace freelunch::checkpoint {

/// Splits items, in order, into groups of at most `limit` bytes. A larger item gets a group of its own.
/// Returns the group of each item, counted from 0.
std::vector<size_t> group_by_size(std::span<const uint64_t> sizes, uint64_t limit);

/// "model.safetensors" if count is 1, otherwise "model-00002-of-00003.safetensors". index counts from 0.
std::string shard_name(const std::string& stem, const std::string& extension, size_t index, size_t count);

/// The content of a model.safetensors.index.json. shard_of: file name by tensor name; total_size: bytes of
/// all tensors.
std::string safetensors_index(const std::map<std::string, std::string>& shard_of, uint64_t total_size);

}  // namespace freelunch::checkpoint
