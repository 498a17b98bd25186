#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "freelunch/checkpoint/tensor_info.h"

namespace freelunch::checkpoint {

/// Named tensors in one or more files. Opening reads only the headers; data is read on request. The list of
/// tensors does not change after opening. Several threads may read at once. If another program truncates a
/// file while it is open, the process ends with SIGBUS, as with every memory map.
class Checkpoint {
 public:
  Checkpoint() = default;
  virtual ~Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  /// All tensors in file order: shard by shard, by position inside a shard.
  virtual const std::vector<TensorInfo>& tensors() const = 0;

  /// Bytes begin .. begin + size - 1 of a tensor of this checkpoint, dense and row-major, not aligned. The
  /// result is a view into the memory map if the file holds the bytes in this form, otherwise into `buffer`,
  /// which is resized. It is valid while checkpoint and buffer exist and the buffer is not changed. Throws
  /// InvalidArgument if the range leaves the tensor, BadFile if the file is inconsistent.
  virtual std::span<const std::byte> bytes(const TensorInfo& tensor, uint64_t begin, uint64_t size,
                                           std::vector<std::byte>& buffer) const = 0;

  /// Bytes that the tensor takes in its file.
  virtual uint64_t stored_bytes(const TensorInfo& tensor) const { return tensor.bytes; }

  /// A hint that the tensor is not needed soon: its pages leave resident memory and are read again on the
  /// next access.
  virtual void release(const TensorInfo& tensor) const;

  /// What opening passed over in the files, one line each, for the user.
  virtual std::vector<std::string> notes() const { return {}; }

  /// The name under which the file stores the tensor `name`, if it says that the two share memory:
  /// save_model of safetensors stores one of them and names the others in "__metadata__". Empty: no such
  /// entry.
  virtual std::string shared_with(const std::string& name) const;

  /// nullptr if no tensor has this name.
  const TensorInfo* find(std::string_view name) const;

  /// Throws BadFile if no tensor has this name.
  const TensorInfo& at(std::string_view name) const;

  /// Converts or dequantises a whole tensor to fp32, row-major. F64 is rounded to nearest. Throws
  /// InvalidArgument unless out.size() == tensor.elements(), Unsupported for integer and boolean tensors.
  void read_f32(const TensorInfo& tensor, std::span<float> out) const;

  /// The same for rows first_row .. first_row + rows - 1 of the first dimension, with the other dimensions
  /// flattened. Throws InvalidArgument if the rows leave the tensor, if it is a scalar, or if out has another
  /// size.
  void read_f32_rows(const TensorInfo& tensor, int64_t first_row, int64_t rows, std::span<float> out) const;

 private:
  void build_index() const;

  mutable std::once_flag index_built_;
  mutable std::unordered_map<std::string_view, size_t> index_;
};

}  // namespace freelunch::checkpoint
