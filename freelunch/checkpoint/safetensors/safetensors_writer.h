#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "freelunch/checkpoint/tensor_writer.h"

namespace freelunch::checkpoint {

/// Writes one .safetensors file. Tensors are in the order of the plan, unless one would then be misaligned
/// for its dtype (torch refuses such files): then tensors with larger elements come first, as in the
/// safetensors library.
class SafetensorsWriter : public TensorWriter {
 public:
  /// Reserves the full size of the file. Throws InvalidArgument for duplicate or reserved names, quantised
  /// dtypes, invalid shapes and text that is not UTF-8; Io if the operating system refuses.
  SafetensorsWriter(std::filesystem::path file, std::vector<TensorPlan> tensors,
                    const std::map<std::string, std::string>& metadata);
};

}  // namespace freelunch::checkpoint
