#pragma once
#include <filesystem>

#include "freelunch/base/sinks.h"
#include "freelunch/model_io/output_format.h"

namespace freelunch::pipeline {

/// Writes a model (a Hugging Face folder, a sparse archive, a GGUF file) in another format, one tensor at a
/// time; what was written appears whole or not at all (of a split GGUF each file). Without options.dtype
/// nothing is lost: every tensor keeps its dtype, but for quantised ones that leave GGUF, which become BF16.
/// Throws Error.
void convert(const std::filesystem::path& in, const std::filesystem::path& out, const OutputOptions& options,
             bool overwrite, Sinks sinks);

}  // namespace freelunch::pipeline
