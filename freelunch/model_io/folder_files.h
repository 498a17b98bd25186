#pragma once
#include <filesystem>
#include <vector>

#include "freelunch/model/language_model.h"
#include "freelunch/model_io/output_format.h"

namespace freelunch::pipeline {

/// Writes config.json: the input's, changed only where dtype or format require it, or one derived from GGUF
/// metadata. A dense folder never declares itself compressed. A sparse archive does, so that loaders refuse
/// or unpack it; otherwise they would fill the missing weights with random numbers (docs/decisions/0011).
void write_config(const model::LanguageModel& model, const OutputOptions& options,
                  const std::filesystem::path& folder);

/// Writes the config.json of a smaller model made from these blocks of `model`: the input's, changed where
/// the two differ, or one derived from GGUF metadata. Throws Unsupported if the result would not be read as
/// `smaller`.
void write_smaller_config(const model::LanguageModel& model, const model::Config& smaller,
                          const std::vector<int64_t>& blocks, const std::filesystem::path& folder);

/// Copies the other files of a model's folder and of folders inside it: all except weights and their indexes,
/// hidden files, folders that are models themselves, and what freelunch writes (config.json, freelunch.json,
/// report.html). From GGUF, writes generation_config.json and the tokenizer's files from the metadata.
void write_other_files(const model::LanguageModel& model, const std::filesystem::path& folder);

}  // namespace freelunch::pipeline
