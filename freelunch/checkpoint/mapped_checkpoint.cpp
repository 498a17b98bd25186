#include "freelunch/checkpoint/mapped_checkpoint.h"

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::checkpoint {

const MappedCheckpoint::Place& MappedCheckpoint::place_of(const TensorInfo& tensor) const {
  const TensorInfo* own = find(tensor.name);
  // `tensor` may come from another checkpoint; it must not lead to reads past the end of this one's tensor.
  if (own == nullptr || own->bytes != tensor.bytes) {
    fail(ErrorKind::kInvalidArgument, "checkpoint: tensor '{}' of {} bytes is not of this checkpoint",
         printable(tensor.name), tensor.bytes);
  }
  return places_[static_cast<size_t>(own - tensors_.data())];
}

std::span<const std::byte> MappedCheckpoint::bytes(const TensorInfo& tensor) const {
  const Place& place = place_of(tensor);
  return shards_[place.shard].bytes().subspan(static_cast<size_t>(place.begin),
                                              static_cast<size_t>(tensor.bytes));
}

std::span<const std::byte> MappedCheckpoint::bytes(const TensorInfo& tensor, uint64_t begin, uint64_t size,
                                                   std::vector<std::byte>&) const {
  check_range(tensor, begin, size);
  return bytes(tensor).subspan(static_cast<size_t>(begin), static_cast<size_t>(size));
}

void MappedCheckpoint::release(const TensorInfo& tensor) const {
  const Place& place = place_of(tensor);
  shards_[place.shard].release(static_cast<size_t>(place.begin), static_cast<size_t>(tensor.bytes));
}

}  // namespace freelunch::checkpoint
