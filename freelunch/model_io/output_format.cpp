#include "freelunch/model_io/output_format.h"

#include <array>
#include <utility>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

using checkpoint::DType;

constexpr std::array<std::pair<Format, std::string_view>, 3> kFormats{
    {{Format::kHuggingFace, "hf"}, {Format::kGguf, "gguf"}, {Format::kBitmask, "bitmask"}}};
constexpr std::array<std::pair<DType, std::string_view>, 4> kDtypes{
    {{DType::kF32, "f32"}, {DType::kF16, "f16"}, {DType::kBF16, "bf16"}, {DType::kQ8_0, "q8_0"}}};

}  // namespace

Format parse_format(std::string_view text) {
  for (const auto& [format, format_name] : kFormats) {
    if (format_name == text) return format;
  }
  fail(ErrorKind::kInvalidArgument, "format '{}' is not known; expected one of hf, gguf, bitmask", text);
}

std::string_view name(Format format) { return kFormats[static_cast<size_t>(format)].second; }

DType parse_output_dtype(std::string_view text) {
  for (const auto& [dtype, dtype_name] : kDtypes) {
    if (dtype_name == text) return dtype;
  }
  fail(ErrorKind::kInvalidArgument, "dtype '{}' is not known; expected one of f32, f16, bf16, q8_0", text);
}

void validate(const OutputOptions& options) {
  if (options.dtype == DType::kQ8_0 && options.format != Format::kGguf)
    fail(ErrorKind::kInvalidArgument, "--dtype q8_0 exists in GGUF only, but the format is {}",
         name(options.format));
}

Format format_of_output(const std::filesystem::path& output, std::optional<Format> asked) {
  const bool named_gguf = output.extension() == ".gguf";
  const Format format = asked.value_or(named_gguf ? Format::kGguf : Format::kHuggingFace);
  if ((format == Format::kGguf) != named_gguf)
    fail(ErrorKind::kInvalidArgument,
         "--format {} does not go with '{}': a GGUF file's name ends in .gguf, a folder's not", name(format),
         output.string());
  return format;
}

}  // namespace freelunch::pipeline
