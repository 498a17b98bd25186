#pragma once
#include <vector>

#include "freelunch/checkpoint/checkpoint.h"
#include "freelunch/checkpoint/files/mapped_file.h"

namespace freelunch::checkpoint {

/// A checkpoint whose tensors are byte ranges of mapped files. The formats derive from it and fill its lists.
class MappedCheckpoint : public Checkpoint {
 public:
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  std::span<const std::byte> bytes(const TensorInfo& tensor, uint64_t begin, uint64_t size,
                                   std::vector<std::byte>& buffer) const override;
  /// The whole tensor, a view into the memory map.
  std::span<const std::byte> bytes(const TensorInfo& tensor) const;
  void release(const TensorInfo& tensor) const override;

 protected:
  /// The position of a tensor's data: byte `begin` of file `shard`.
  struct Place {
    size_t shard;
    uint64_t begin;
  };

  std::vector<MappedFile> shards_;
  std::vector<TensorInfo> tensors_;
  std::vector<Place> places_;  // one for each of tensors_

 private:
  const Place& place_of(const TensorInfo& tensor) const;
};

}  // namespace freelunch::checkpoint
