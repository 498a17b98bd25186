#include "freelunch/checkpoint/tensor_info.h"

#include <fmt/ranges.h>

#include <limits>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::checkpoint {

int64_t TensorInfo::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

std::optional<int64_t> element_count(std::span<const int64_t> shape) {
  int64_t product = 1;
  bool empty = false;
  bool overflow = false;
  for (const int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size == 0) {
      empty = true;
    } else if (product > std::numeric_limits<int64_t>::max() / size) {
      overflow = true;
    } else {
      product *= size;
    }
  }
  // Refused even if another dimension is zero: callers multiply the dimensions in any order.
  if (overflow) return std::nullopt;
  return empty ? 0 : product;
}

void check_range(const TensorInfo& tensor, uint64_t begin, uint64_t size) {
  if (begin <= tensor.bytes && size <= tensor.bytes - begin) return;
  fail(ErrorKind::kInvalidArgument, "checkpoint: tensor '{}' has {} bytes, not {} from byte {} on",
       printable(tensor.name), tensor.bytes, size, begin);
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace freelunch::checkpoint
