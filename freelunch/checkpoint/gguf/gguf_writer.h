#pragma once
#include <filesystem>
#include <vector>

#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/checkpoint/tensor_writer.h"

namespace freelunch::checkpoint {

/// Writes one .gguf file of version 3, little endian. Metadata keys keep their order and types; tensors
/// are in the order of the plan. Format: github.com/ggml-org/ggml/blob/master/docs/gguf.md.
class GgufWriter : public TensorWriter {
 public:
  /// Reserves the full size of the file. Tensors are aligned to general.alignment of the metadata, or else to
  /// 32 bytes. Throws InvalidArgument for a name that is used twice, a dtype that ggml does not have or a
  /// shape that the dtype cannot store; Io if the operating system refuses.
  GgufWriter(std::filesystem::path file, const GgufMetadata& metadata,
             const std::vector<TensorPlan>& tensors);
};

}  // namespace freelunch::checkpoint
