#pragma once
#include <filesystem>
#include <memory>
#include <optional>

#include "freelunch/checkpoint/bitmask/bitmask.h"
#include "freelunch/checkpoint/safetensors/safetensors.h"

namespace freelunch::checkpoint {

/// A sparse archive: safetensors in which some tensors are packed as NAME.compressed, NAME.bitmask,
/// NAME.shape and NAME.row_offsets (docs/formats/bitmask.md). Packed tensors appear under their own names
/// as dense tensors; rows are unpacked when they are read. Opens archives of freelunch and the layouts
/// "sparse-bitmask" and "sparse-24-bitmask" of compressed-tensors 0.3 to 0.14.
class BitmaskCheckpoint : public Checkpoint {
 public:
  /// Whether any tensor of the file is packed.
  static bool is_archive(const SafetensorsCheckpoint& file);
  /// Checks shapes, sizes and row offsets of every packed tensor; masks are checked when they are read.
  /// Throws BadFile naming file, tensor and cause.
  explicit BitmaskCheckpoint(std::unique_ptr<SafetensorsCheckpoint> file);

  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor, uint64_t begin, uint64_t size,
                                   std::vector<std::byte>& buffer) const override;
  uint64_t stored_bytes(const TensorInfo& tensor) const override;
  void release(const TensorInfo& tensor) const override;
  std::vector<std::string> notes() const override { return file_->notes(); }
  std::string shared_with(const std::string& name) const override { return file_->shared_with(name); }

 private:
  /// The parts of a packed tensor.
  struct Packed {
    MatrixShape shape;
    const TensorInfo* values = nullptr;
    const TensorInfo* mask = nullptr;
    std::vector<const TensorInfo*> parts;  // all of them
    std::vector<int64_t> row_offsets;      // rows + 1
  };

  void add_packed(const std::string& key);
  const Packed* packed(const TensorInfo& tensor) const;
  void unpack(const TensorInfo& tensor, const Packed& packed, int64_t row, std::span<std::byte> out) const;

  std::unique_ptr<SafetensorsCheckpoint> file_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::optional<Packed>> packed_;  // one for each of tensors_
};

/// Opens a Hugging Face folder's weights, or one .safetensors file: dense, or a sparse archive.
std::unique_ptr<Checkpoint> open_safetensors(const std::filesystem::path& folder_or_file);

}  // namespace freelunch::checkpoint
