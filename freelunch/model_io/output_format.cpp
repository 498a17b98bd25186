#include "freelunch/model_io/output_format.h"

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

using checkpoint::DType;

}  // namespace

std::string_view name(Format format) { return name_in(kFormatNames, format); }

void validate(const OutputOptions& options) {
  if (options.dtype == DType::kQ8_0 && options.format != Format::kGguf)
    fail(ErrorKind::kInvalidArgument, "`dtype` q8_0 exists in GGUF only, but the format is {}",
         name(options.format));
}

Format format_of_output(const std::filesystem::path& output, std::optional<Format> asked) {
  const bool named_gguf = output.extension() == ".gguf";
  const Format format = asked.value_or(named_gguf ? Format::kGguf : Format::kHuggingFace);
  if ((format == Format::kGguf) != named_gguf)
    fail(ErrorKind::kInvalidArgument,
         "`format` {} does not go with '{}': a GGUF file's name ends in .gguf, a folder's not", name(format),
         output.string());
  return format;
}

}  // namespace freelunch::pipeline
