#pragma once
#include "freelunch/base/sinks.h"
#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/model/language_model.h"

namespace freelunch::pipeline {

/// The metadata for a GGUF file of a model. A GGUF input's metadata is returned unchanged. For a folder it is
/// derived from config.json and the tokenizer's files: the architecture's sizes and, if there is a tokenizer,
/// its tokens, types, merges or scores, pre-tokenizer name, special tokens and chat templates. `log` receives
/// warnings of tokens that are left out. Throws Unsupported for a tokenizer that GGUF cannot express.
checkpoint::GgufMetadata gguf_metadata_of(const model::LanguageModel& model, LogSink& log);

}  // namespace freelunch::pipeline
