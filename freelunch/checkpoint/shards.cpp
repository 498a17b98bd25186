#include "freelunch/checkpoint/shards.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace freelunch::checkpoint {

std::vector<size_t> group_by_size(std::span<const uint64_t> sizes, uint64_t limit) {
  std::vector<size_t> groups;
  size_t group = 0;
  uint64_t filled = 0;
  for (const uint64_t size : sizes) {
    if (!groups.empty() && (filled > limit || size > limit - filled)) {
      ++group;
      filled = 0;
    }
    filled += size;
    groups.push_back(group);
  }
  return groups;
}

std::string shard_name(const std::string& stem, const std::string& extension, size_t index, size_t count) {
  if (count <= 1) return stem + extension;
  return fmt::format("{}-{:05}-of-{:05}{}", stem, index + 1, count, extension);
}

std::string safetensors_index(const std::map<std::string, std::string>& shard_of, uint64_t total_size) {
  const nlohmann::ordered_json index{{"metadata", {{"total_size", total_size}}}, {"weight_map", shard_of}};
  return index.dump(2) + "\n";
}

}  // namespace freelunch::checkpoint
