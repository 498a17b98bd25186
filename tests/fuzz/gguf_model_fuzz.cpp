#include <nlohmann/json.hpp>

#include "freelunch/architecture/gguf_config.h"
#include "freelunch/model_io/gguf_tokenizer.h"
#include "hostile_input.h"

using namespace freelunch;

/// What a model and its tokenizer are made of from GGUF metadata.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto path = fuzz::write_file("m.gguf", data, size);
  fuzz::try_to_parse("m.gguf", [&] {
    const auto file = checkpoint::GgufCheckpoint::open(path);
    model::config_from_gguf(*file, "m.gguf");
  });
  return fuzz::try_to_parse("m.gguf", [&] {
    const auto file = checkpoint::GgufCheckpoint::open(path);
    const tokenizer::GgufVocabulary vocabulary = pipeline::gguf_vocabulary(file->metadata());
    const auto made = tokenizer::from_gguf(vocabulary, "m.gguf");
    // What is accepted can be saved beside the model and used.
    tokenizer::tokenizer_json_from_gguf(vocabulary).dump();
    tokenizer::tokenizer_config_from_gguf(vocabulary).dump();
    const auto ids =
        made->encode("Hello  world 1234\n\t h\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC\xF0\x9F\x98\x80 \xFF");
    for (const auto id : ids) fuzz::require(id >= 0 && id < made->size(), "ids are in the vocabulary");
    made->decode(ids);
  });
}
