#pragma once
#include "freelunch/checkpoint/gguf/gguf_metadata.h"
#include "freelunch/tokenizer/gguf_vocabulary.h"

namespace freelunch::pipeline {

/// What GGUF metadata says of the tokenizer. Throws BadFile for missing or mistyped keys.
tokenizer::GgufVocabulary gguf_vocabulary(const checkpoint::GgufMetadata& metadata);

}  // namespace freelunch::pipeline
