#pragma once
#include <filesystem>

#include "freelunch/base/sinks.h"
#include "freelunch/model/weight_view.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/model_io/output_format.h"

namespace freelunch::pipeline {

/// Writes a Hugging Face folder: config.json, safetensors files (with an index if there are several) and the
/// tokenizer's files. With Format::kBitmask, a matrix is packed if that makes it smaller. A tensor that is
/// not changed and keeps its dtype is copied byte by byte; any other is rounded to its saved dtype. `folder`
/// must exist; the caller publishes it in one step. Holds one tensor at a time.
void export_folder(const OpenedModel& opened, const model::WeightView& weights,
                   const std::filesystem::path& folder, const OutputOptions& options, ProgressSink& progress);

/// Writes a .gguf file that llama.cpp loads, or several with shard_bytes (-00001-of-0000n.gguf). Metadata is
/// copied from a GGUF input, or derived from config.json and the tokenizer. Norms and biases are F32, as
/// llama.cpp requires; a matrix whose rows are not a multiple of a Q8_0 block is F16. Each file appears only
/// when it is complete. Warns of tokens that are left out. Throws Unsupported, naming the tensor or
/// tokenizer, if GGUF cannot express it.
void export_gguf(const OpenedModel& opened, const model::WeightView& weights,
                 const std::filesystem::path& file, const OutputOptions& options, Sinks sinks);

/// Writes the model into `folder` in any format; a GGUF file is named model.gguf. The folder can then be
/// opened as a model.
void export_model(const OpenedModel& opened, const model::WeightView& weights,
                  const std::filesystem::path& folder, const OutputOptions& options, Sinks sinks);

}  // namespace freelunch::pipeline
