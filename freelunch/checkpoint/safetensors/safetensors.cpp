#include "freelunch/checkpoint/safetensors/safetensors.h"

#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"
#include "freelunch/checkpoint/safetensors/safetensors_header.h"

namespace freelunch::checkpoint {

namespace fs = std::filesystem;

std::unique_ptr<SafetensorsCheckpoint> SafetensorsCheckpoint::open(const fs::path& path) {
  std::unique_ptr<SafetensorsCheckpoint> result(new SafetensorsCheckpoint);
  const fs::path index = path / "model.safetensors.index.json";
  if (path.extension() == ".json") {
    result->open_index(path);
  } else if (!fs::is_directory(path)) {
    result->add_shard(path);
  } else if (fs::exists(path / "model.safetensors")) {
    result->add_shard(path / "model.safetensors");
  } else if (fs::exists(index)) {
    result->open_index(index);
  } else {
    const bool pickled = fs::exists(path / "pytorch_model.bin");
    fail(pickled ? ErrorKind::kUnsupported : ErrorKind::kBadFile,
         "safetensors: '{}' holds neither model.safetensors nor model.safetensors.index.json{}",
         path.string(), pickled ? "; pytorch_model.bin is not read: save it as safetensors first" : "");
  }
  result->refuse_duplicates();
  return result;
}

void SafetensorsCheckpoint::add_shard(const fs::path& path) {
  const size_t shard = shards_.size();
  shards_.emplace_back(path, "safetensors");
  SafetensorsHeader header = read_safetensors_header(shards_.back().bytes(), shards_.back().name());
  for (auto& entry : header.entries) {
    tensors_.push_back(std::move(entry.info));
    places_.push_back({.shard = shard, .begin = entry.begin});
  }
  metadata_.merge(header.metadata);
}

void SafetensorsCheckpoint::open_index(const fs::path& index) {
  const MappedFile content(index, "safetensors");
  const auto shard_of = read_safetensors_index(content.bytes(), content.name());
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  for (const std::string& shard : shards) {
    if (fs::path(shard).filename() != shard || shard == "." || shard == "..") {
      fail(ErrorKind::kBadFile, "safetensors: {} names shard '{}' outside its folder", content.name(),
           printable(shard));
    }
    if (!fs::exists(index.parent_path() / shard)) {
      fail(ErrorKind::kBadFile, "safetensors: {} names shard '{}', which is not there; incomplete download?",
           content.name(), printable(shard));
    }
    add_shard(index.parent_path() / shard);
  }
  note_absent(shard_of, content.name());
}

/// Tools that drop tensors often leave their names in the index. Whoever needs one of them misses it by name.
void SafetensorsCheckpoint::note_absent(const std::map<std::string, std::string>& shard_of,
                                        const std::string& index) {
  std::vector<std::string> absent;
  for (const auto& [tensor, shard] : shard_of) {
    if (find(tensor) == nullptr) absent.push_back(tensor);
  }
  if (absent.empty()) return;
  notes_.push_back(fmt::format("{} names tensors that no shard holds: {}", index, first_of(absent)));
}

std::string SafetensorsCheckpoint::shared_with(const std::string& name) const {
  const auto it = metadata_.find(name);
  return it == metadata_.end() ? "" : it->second;
}

void SafetensorsCheckpoint::refuse_duplicates() const {
  std::set<std::string_view> seen;
  for (const TensorInfo& tensor : tensors_) {
    if (!seen.insert(tensor.name).second)
      fail(ErrorKind::kBadFile, "safetensors: tensor '{}' is in two shards; one of them is {}",
           printable(tensor.name), tensor.file);
  }
}

}  // namespace freelunch::checkpoint
