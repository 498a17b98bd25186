#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "freelunch/checkpoint/mapped_checkpoint.h"

namespace freelunch::checkpoint {

/// Safetensors: one file, or a folder of shards. Format: github.com/huggingface/safetensors, docs/formats.
class SafetensorsCheckpoint : public MappedCheckpoint {
 public:
  /// Opens a .safetensors file, a .safetensors.index.json, or a folder that holds model.safetensors or
  /// model.safetensors.index.json. An index may name tensors that no shard holds. Throws BadFile for a file
  /// that is broken or inconsistent, Unsupported for a dtype that DType does not have; both name file, tensor
  /// and cause.
  static std::unique_ptr<SafetensorsCheckpoint> open(const std::filesystem::path& folder_or_file);

  /// The free-form "__metadata__" of the header. If several shards have a key, the first one counts.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// Tensors that the index names and no shard holds.
  std::vector<std::string> notes() const override { return notes_; }
  std::string shared_with(const std::string& name) const override;

 private:
  SafetensorsCheckpoint() = default;
  void add_shard(const std::filesystem::path& path);
  void open_index(const std::filesystem::path& index);
  void refuse_duplicates() const;
  void note_absent(const std::map<std::string, std::string>& shard_of, const std::string& index);

  std::map<std::string, std::string> metadata_;
  std::vector<std::string> notes_;
};

}  // namespace freelunch::checkpoint
