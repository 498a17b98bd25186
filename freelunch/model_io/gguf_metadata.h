#pragma once
#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/model/language_model.h"

namespace freelunch::pipeline {

/// The metadata of a GGUF file made from a model: what its own file holds, or for a folder the architecture's
/// sizes and the tokenizer (tokens, types, merges or scores, the pre-tokenizer's name, special tokens, chat
/// template) from config.json and the tokenizer's files. A folder without tokenizer gives none. Throws
/// Unsupported for a tokenizer that GGUF has no form for.
checkpoint::GgufMetadata gguf_metadata_of(const model::LanguageModel& model);

}  // namespace freelunch::pipeline
