#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "freelunch/checkpoint/dtype.h"

namespace freelunch::checkpoint {

/// A tensor that will be written.
struct TensorPlan {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;  ///< outermost dimension first
};

/// A file of named tensors that is written under a temporary name and renamed when it is complete. The
/// formats derive from it: they assign each tensor its place and write the header. The data may then come in
/// any order.
class TensorWriter {
 public:
  /// Removes the temporary file unless finish() succeeded.
  virtual ~TensorWriter();
  TensorWriter(const TensorWriter&) = delete;
  TensorWriter& operator=(const TensorWriter&) = delete;

  /// Writes the whole data of a planned tensor, once. Not for use by several threads. Throws InvalidArgument
  /// if the name is not planned, the tensor was written before or the size differs; Io if the operating
  /// system refuses.
  void write(std::string_view name, std::span<const std::byte> data);

  /// Writes the next piece of a planned tensor's data. Throws InvalidArgument if the name is not planned or
  /// if there is more data than planned.
  void append(std::string_view name, std::span<const std::byte> data);

  /// Flushes, checks the size and renames into place. Throws InvalidArgument if a tensor is not complete.
  void finish();

 protected:
  /// Messages start with `format`.
  TensorWriter(std::filesystem::path file, std::string_view format);

  /// Assigns a tensor bytes begin .. begin + bytes - 1 of the file. Throws InvalidArgument if the name is
  /// used twice.
  void place(const std::string& name, uint64_t begin, uint64_t bytes);
  /// Creates the temporary file in its full size and writes the header. Called once, after all place() calls.
  void reserve(std::string_view header, uint64_t size);

 private:
  struct Slot {
    uint64_t begin;  // from the start of the file
    uint64_t bytes;
    uint64_t written;
    bool complete;
  };

  Slot& slot_for(std::string_view name, uint64_t size, bool whole);
  void write_at(std::span<const std::byte> data, uint64_t offset);
  [[noreturn]] void refuse(std::string_view action) const;

  std::filesystem::path file_;
  std::filesystem::path partial_;
  std::string format_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  std::unordered_map<std::string, Slot> slots_;
};

}  // namespace freelunch::checkpoint
