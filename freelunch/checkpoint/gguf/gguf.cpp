#include "freelunch/checkpoint/gguf/gguf.h"

#include <fmt/core.h>

#include <regex>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/gguf/gguf_header.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;

/// All parts of a split model, in order; only the file itself if it is not a part.
std::vector<fs::path> parts_of(const fs::path& path) {
  static const std::regex kSplit(R"((.*)-(\d{5})-of-(\d{5})\.gguf)");
  std::smatch match;
  const std::string file = path.filename().string();
  if (!std::regex_match(file, match, kSplit)) return {path};
  const int count = std::stoi(match[3]);
  if (std::stoi(match[2]) < 1 || std::stoi(match[2]) > count)
    fail(ErrorKind::kBadFile, "gguf: {} says it is part {} of {}", file, match[2].str(), match[3].str());
  std::vector<fs::path> parts;
  for (int i = 1; i <= count; ++i) {
    parts.push_back(path.parent_path() / fmt::format("{}-{:05}-of-{:05}.gguf", match[1].str(), i, count));
    if (!fs::exists(parts.back())) {
      fail(ErrorKind::kBadFile, "gguf: {} is part of a split model, but {} is not in the same folder", file,
           parts.back().filename().string());
    }
  }
  return parts;
}

}  // namespace

std::unique_ptr<GgufCheckpoint> GgufCheckpoint::open(const fs::path& path) {
  std::unique_ptr<GgufCheckpoint> result(new GgufCheckpoint);
  for (const fs::path& part : parts_of(path)) result->add_part(part);
  result->refuse_duplicates();
  return result;
}

void GgufCheckpoint::add_part(const fs::path& path) {
  const size_t shard = shards_.size();
  shards_.emplace_back(path, "gguf");
  GgufHeader header = read_gguf_header(shards_.back().bytes(), shards_.back().name());
  if (shard == 0) {
    metadata_ = std::move(header.metadata);
    version_ = header.version;
  }
  for (GgufHeader::Entry& entry : header.entries) {
    tensors_.push_back(std::move(entry.info));
    places_.push_back({.shard = shard, .begin = entry.begin});
  }
}

void GgufCheckpoint::refuse_duplicates() const {
  std::set<std::string_view> seen;
  for (const TensorInfo& tensor : tensors_) {
    if (!seen.insert(tensor.name).second)
      fail(ErrorKind::kBadFile, "gguf: {} holds tensor '{}' twice", tensor.file, printable(tensor.name));
  }
}

}  // namespace freelunch::checkpoint
