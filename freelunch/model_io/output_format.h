#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "freelunch/base/enum_names.h"
#include "freelunch/checkpoint/dtype.h"

namespace freelunch::pipeline {

enum class Format {
  kHuggingFace,  ///< a folder of safetensors, dense
  kGguf,         ///< one .gguf file, or the splits of one
  kBitmask       ///< a sparse archive: safetensors with packed sparse tensors (docs/formats/bitmask.md)
};
inline constexpr EnumNames<Format, 3> kFormatNames{
    {{Format::kHuggingFace, "hf"}, {Format::kGguf, "gguf"}, {Format::kBitmask, "bitmask"}}};
std::string_view name(Format format);

/// The dtypes in which weights can be written.
inline constexpr EnumNames<checkpoint::DType, 4> kOutputDtypeNames{{{checkpoint::DType::kF32, "f32"},
                                                                    {checkpoint::DType::kF16, "f16"},
                                                                    {checkpoint::DType::kBF16, "bf16"},
                                                                    {checkpoint::DType::kQ8_0, "q8_0"}}};

/// How a model is written.
struct OutputOptions {
  Format format = Format::kHuggingFace;
  std::optional<checkpoint::DType> dtype;  ///< of the weights; absent: each tensor keeps its own
  /// Upper limit on the bytes of tensors in a file. Absent: a folder keeps the files of its input, a folder
  /// made from GGUF has files of 5 GB, and a .gguf file is never split.
  std::optional<uint64_t> shard_bytes;
  bool plain_zeros = false;  ///< write negative zeros as positive ones; a sparse archive then drops them
};

/// Throws InvalidArgument for a Q8_0 dtype outside GGUF.
void validate(const OutputOptions& options);

/// The format that `convert` writes to `output`: the one asked for; if none was, GGUF for a name that ends in
/// .gguf, else a Hugging Face folder. Throws InvalidArgument if format and name contradict each other.
Format format_of_output(const std::filesystem::path& output, std::optional<Format> asked);

}  // namespace freelunch::pipeline
