#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "freelunch/checkpoint/dtype.h"

namespace freelunch::checkpoint {

/// A tensor of a checkpoint, without its data.
struct TensorInfo {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;  ///< outermost dimension first, row-major; empty for a scalar
  uint64_t bytes;              ///< size of the dense data; a sparse archive stores less
  std::string file;            ///< name of its file, without folder

  /// Product of the shape; 1 for a scalar.
  int64_t elements() const;
};

/// Product of a shape. Empty if a dimension is negative or the product exceeds 2^63 - 1.
std::optional<int64_t> element_count(std::span<const int64_t> shape);

/// Throws InvalidArgument unless bytes begin .. begin + size - 1 lie in the tensor.
void check_range(const TensorInfo& tensor, uint64_t begin, uint64_t size);

/// "[576, 1536]", for messages.
std::string shape_text(std::span<const int64_t> shape);

}  // namespace freelunch::checkpoint
