#pragma once
#include <filesystem>
#include <vector>

#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/checkpoint/tensor_writer.h"

namespace freelunch::checkpoint {

/// Writes one .gguf file of version 3, little endian. Metadata keys keep their order and types, tensors lie
/// in plan order. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
class GgufWriter : public TensorWriter {
 public:
  /// Reserves the file's full size. Tensors are aligned to general.alignment, 32 unless the metadata says
  /// otherwise. Throws InvalidArgument for names used twice, dtypes that ggml lacks and shapes that the dtype
  /// cannot hold; Io if the operating system refuses.
  GgufWriter(std::filesystem::path file, const GgufMetadata& metadata,
             const std::vector<TensorPlan>& tensors);
};

}  // namespace freelunch::checkpoint
