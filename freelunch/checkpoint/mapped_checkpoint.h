#pragma once
#include <vector>

#include "freelunch/checkpoint/checkpoint.h"
#include "freelunch/checkpoint/files/mapped_file.h"

namespace freelunch::checkpoint {

/// A checkpoint whose tensors are byte ranges of mapped files; the formats derive from it and fill it in.
class MappedCheckpoint : public Checkpoint {
 public:
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor, uint64_t begin, uint64_t size,
                                   std::vector<std::byte>& room) const override;
  /// The whole tensor, a view into the memory map.
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;
  void release(const TensorInfo& tensor) const override;

 protected:
  /// Where a tensor's data lies: `begin` counts from the start of file `shard`.
  struct Place {
    size_t shard;
    uint64_t begin;
  };

  std::vector<MappedFile> shards_;
  std::vector<TensorInfo> tensors_;
  std::vector<Place> places_;  // as tensors_

 private:
  const Place& place_of(const TensorInfo& tensor) const;
};

}  // namespace freelunch::checkpoint
