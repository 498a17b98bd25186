#pragma once
#include <filesystem>

#include "freelunch/base/sinks.h"
#include "freelunch/model_io/output_format.h"

namespace freelunch::pipeline {

/// Writes a model (a Hugging Face folder, a sparse archive or a GGUF file) in another format, one tensor at a
/// time. The output appears only when it is complete; of a split GGUF, each file. Without options.dtype every
/// tensor keeps its dtype and values, except that quantised tensors leave GGUF as BF16. Replaces an existing
/// output only with `overwrite`. Throws Error.
void convert(const std::filesystem::path& in, const std::filesystem::path& out, const OutputOptions& options,
             bool overwrite, Sinks sinks);

}  // namespace freelunch::pipeline
