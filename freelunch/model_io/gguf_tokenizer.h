#pragma once
#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/tokenizer/gguf_vocabulary.h"

namespace freelunch::pipeline {

/// Reads the tokenizer from GGUF metadata. Special ids that no token has are left out. Throws BadFile if a
/// key is missing or has the wrong type.
tokenizer::GgufVocabulary gguf_vocabulary(const checkpoint::GgufMetadata& metadata);

}  // namespace freelunch::pipeline
