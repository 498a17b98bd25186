#pragma once
#include <filesystem>
#include <memory>

#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/checkpoint/mapped_checkpoint.h"

namespace freelunch::checkpoint {

/// GGUF, versions 2 and 3, little endian. Shapes are put outermost first; the data is that of the file.
/// Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md, docs/formats.
class GgufCheckpoint : public MappedCheckpoint {
 public:
  /// Opens a .gguf file; of a split model (-00001-of-0000n.gguf) any part, which opens them all. Throws
  /// BadFile for anything broken or inconsistent, Unsupported for other versions, byte orders and tensor
  /// types.
  static std::unique_ptr<GgufCheckpoint> open(const std::filesystem::path& path);

  /// Of a split model that of the first part, which holds the model's.
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
