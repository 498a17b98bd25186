#pragma once
#include <filesystem>

#include "freelunch/base/sinks.h"
#include "freelunch/model/weight_view.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/model_io/output_format.h"

namespace freelunch::pipeline {

/// Writes a Hugging Face folder: config.json, safetensors (with an index where there are several) and the
/// tokenizer's files. Under Format::kBitmask every matrix that takes less room packed is packed. Tensors that
/// are neither changed nor asked for in another dtype keep their bytes; the others are rounded to their saved
/// dtype. `folder` exists; the caller makes the whole appear at once. One tensor is held at a time.
void export_folder(const OpenedModel& opened, const model::WeightView& weights,
                   const std::filesystem::path& folder, const OutputOptions& options, ProgressSink& progress);

/// Writes a .gguf file that llama.cpp loads, or with shard_bytes several (-00001-of-0000n.gguf). Metadata is
/// kept (GGUF input) or derived. Norms and biases are F32, as llama.cpp wants them; a matrix whose rows are
/// not whole Q8_0 blocks is F16. Each file appears whole or not at all. Throws Unsupported naming a tensor or
/// tokenizer that GGUF has no name for.
void export_gguf(const OpenedModel& opened, const model::WeightView& weights,
                 const std::filesystem::path& file, const OutputOptions& options, ProgressSink& progress);

/// Writes the model into `folder` in any format; a GGUF is called model.gguf there. The folder then opens as
/// a model.
void export_model(const OpenedModel& opened, const model::WeightView& weights,
                  const std::filesystem::path& folder, const OutputOptions& options, ProgressSink& progress);

}  // namespace freelunch::pipeline
