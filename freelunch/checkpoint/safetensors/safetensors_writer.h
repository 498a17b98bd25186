#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "freelunch/checkpoint/tensor_writer.h"

namespace freelunch::checkpoint {

/// Writes one .safetensors file. Tensors lie in plan order, unless that would leave one misaligned for its
/// dtype (torch refuses those): then those of larger elements come first, as in the safetensors library.
class SafetensorsWriter : public TensorWriter {
 public:
  /// Reserves the file's full size. Throws InvalidArgument for duplicate or reserved names, quantised dtypes,
  /// impossible shapes and text that is not UTF-8; Io if the operating system refuses.
  SafetensorsWriter(std::filesystem::path file, std::vector<TensorPlan> tensors,
                    const std::map<std::string, std::string>& metadata);
};

}  // namespace freelunch::checkpoint
