#pragma once
#include <filesystem>

#include "base/sinks.h"
#include "model/weights.h"
#include "pipeline/opened_model.h"

namespace freelunch::pipeline {

/// Writes a Hugging Face folder that transformers loads: config.json, model.safetensors (shards as in the
/// input) and the tokenizer's files. Untouched tensors of a folder keep their bytes; changed ones, and those
/// from GGUF, are rounded to their saved dtype. `folder` exists; the caller makes the whole appear at once.
void export_hugging_face(const OpenedModel& opened, const model::Weights& weights,
                         const std::filesystem::path& folder, ProgressSink& progress);

}  // namespace freelunch::pipeline
