#pragma once
#include "checkpoint/gguf_metadata.h"
#include "model/language_model.h"

namespace freelunch::pipeline {

/// The metadata of a GGUF file made from a model: what its own file holds, or for a folder the architecture's
/// sizes and the tokenizer (tokens, types, merges, the pre-tokenizer's name, special tokens, chat template)
/// from config.json, tokenizer.json and tokenizer_config.json. A folder without tokenizer gives none. Throws
/// Unsupported for a tokenizer that GGUF has no name for.
checkpoint::GgufMetadata gguf_metadata_of(const model::LanguageModel& model);

}  // namespace freelunch::pipeline
