#pragma once
#include <filesystem>
#include <memory>

#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/checkpoint/mapped_checkpoint.h"

namespace freelunch::checkpoint {

/// A GGUF file, version 2 or 3, little endian. Shapes are outermost dimension first; the data is not changed.
/// Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md, docs/formats.
class GgufCheckpoint : public MappedCheckpoint {
 public:
  /// Opens a .gguf file. Any part of a split model (-00001-of-0000n.gguf) opens all parts. Throws BadFile for
  /// a file that is broken or inconsistent, Unsupported for other versions, byte orders and tensor types.
  static std::unique_ptr<GgufCheckpoint> open(const std::filesystem::path& path);

  /// The metadata; for a split model those of the first part, which has the model's.
  const GgufMetadata& metadata() const { return metadata_; }
  uint32_t version() const { return version_; }

 private:
  GgufCheckpoint() = default;
  void add_part(const std::filesystem::path& path);
  void refuse_duplicates() const;

  GgufMetadata metadata_;
  uint32_t version_ = 0;
};

}  // namespace freelunch::checkpoint
