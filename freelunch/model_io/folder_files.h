#pragma once
#include <filesystem>

#include "freelunch/model/language_model.h"
#include "freelunch/model_io/output_format.h"

namespace freelunch::pipeline {

/// Writes config.json: the input's, changed only where dtype or format need it, or one made from GGUF
/// metadata. A dense folder never says that it is compressed; an archive does, so that loaders refuse it or
/// unpack it instead of filling what they miss with random numbers (docs/decisions/0011).
void write_config(const model::LanguageModel& model, const OutputOptions& options,
                  const std::filesystem::path& folder);

/// Copies the tokenizer's files, or writes them from GGUF metadata; nothing where the model has none.
void write_tokenizer_files(const model::LanguageModel& model, const std::filesystem::path& folder);

}  // namespace freelunch::pipeline
