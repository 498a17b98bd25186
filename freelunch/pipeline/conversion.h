#pragma once
#include <filesystem>

#include "base/sinks.h"

namespace freelunch::pipeline {

/// Writes a model (a GGUF file, or a folder) as a Hugging Face folder that appears whole or not at all.
/// Throws Error.
void convert(const std::filesystem::path& in, const std::filesystem::path& out, bool overwrite, Sinks sinks);

}  // namespace freelunch::pipeline
