#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/dtype.h"

namespace freelunch::checkpoint {

/// A tensor that a SafetensorsWriter is going to hold.
struct TensorPlan {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;  ///< outermost dimension first
};

/// Writes one .safetensors file under a temporary name and renames it when all is there. Tensors lie in plan
/// order, unless that would leave one misaligned for its dtype (torch refuses those): then those of larger
/// elements come first, as in the safetensors library.
class SafetensorsWriter {
 public:
  /// Reserves the file's full size. Throws InvalidArgument for duplicate or reserved names, quantised dtypes,
  /// impossible shapes and text that is not UTF-8; Io if the operating system refuses.
  SafetensorsWriter(std::filesystem::path file, std::vector<TensorPlan> tensors,
                    const std::map<std::string, std::string>& metadata);
  /// Removes the temporary file unless finish() succeeded.
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// Each planned tensor once, in any order, from one thread. Throws InvalidArgument for a name not planned,
  /// a second time or another size; Io if the operating system refuses.
  void write(std::string_view name, std::span<const std::byte> data);

  /// Flushes, checks the size and renames into place. Throws InvalidArgument if a tensor was not written.
  void finish();

 private:
  struct Slot {
    uint64_t begin;  // from the start of the file
    uint64_t bytes;
    bool written;
  };

  std::string lay_out(const std::vector<TensorPlan>& tensors,
                      const std::map<std::string, std::string>& metadata);
  void reserve(const std::string& header);
  void write_at(std::span<const std::byte> data, uint64_t offset);
  [[noreturn]] void refuse(std::string_view action) const;

  std::filesystem::path file_;
  std::filesystem::path partial_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  std::unordered_map<std::string, Slot> slots_;
};

}  // namespace freelunch::checkpoint
