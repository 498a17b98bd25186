#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "freelunch/checkpoint/tensor_info.h"

namespace freelunch::checkpoint {

/// Named tensors in one or more files, opened lazily: only headers are read until data is asked for.
/// The list of tensors is fixed once opened. Reading is safe from several threads at once. A file that
/// another program truncates while it is open ends the process with SIGBUS, as for every memory map.
class Checkpoint {
 public:
  Checkpoint() = default;
  virtual ~Checkpoint() = default;
  Checkpoint(const Checkpoint&) = delete;
  Checkpoint& operator=(const Checkpoint&) = delete;

  /// All tensors in file order: shard by shard, by position inside a shard.
  virtual const std::vector<TensorInfo>& tensors() const = 0;

  /// Bytes begin .. begin + size - 1 of a tensor of this checkpoint, dense and row-major: a view into the
  /// memory map where the file holds them so, else into `room`, which is resized; not aligned. Valid as long
  /// as both are untouched. Throws InvalidArgument if the range leaves the tensor, BadFile where the file
  /// proves inconsistent.
  virtual std::span<const std::byte> bytes(const TensorInfo& tensor, uint64_t begin, uint64_t size,
                                           std::vector<std::byte>& room) const = 0;

  /// Bytes that the tensor takes in its file.
  virtual uint64_t stored_bytes(const TensorInfo& tensor) const { return tensor.bytes; }

  /// Drops the tensor's pages from resident memory; they are read again when next asked for. A hint: changes
  /// no result.
  virtual void release(const TensorInfo& tensor) const;

  /// nullptr if no tensor has this name.
  const TensorInfo* find(std::string_view name) const;

  /// Throws BadFile if no tensor has this name.
  const TensorInfo& at(std::string_view name) const;

  /// Converts or dequantises a whole tensor to fp32, row-major. out.size() == tensor.elements(), else
  /// InvalidArgument. F64 is rounded to nearest. Throws Unsupported for integer and boolean tensors.
  void read_f32(const TensorInfo& tensor, std::span<float> out) const;

  /// As read_f32 for rows first_row .. first_row + rows - 1 of the first dimension, the others flattened.
  /// Throws InvalidArgument if the rows leave the tensor, if it has no dimension, or if out has another size.
  void read_f32_rows(const TensorInfo& tensor, int64_t first_row, int64_t rows, std::span<float> out) const;

 private:
  void build_index() const;

  mutable std::once_flag index_built_;
  mutable std::unordered_map<std::string_view, size_t> index_;
};

}  // namespace freelunch::checkpoint
