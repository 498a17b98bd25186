#include "freelunch/tokenizer/scored_vocabulary.h"
#include "freelunch/tokenizer/sentencepiece_tokenizer.h"
#include "hostile_input.h"

using namespace freelunch;

/// tokenizer.model: what is taken encodes, decodes, and has a GGUF form or a reason against one.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("tokenizer.model", [&] {
    const std::string_view file = fuzz::text_of(data, size);
    const auto made = tokenizer::from_sentencepiece(file, {}, "tokenizer.model");
    for (const std::string_view sample :
         {std::string_view("Hello  world 1234\n\t h\xC3\xA9 \xE6\x97\xA5\xF0\x9F\x98\x80 \xFF<s> ab"),
          file.substr(0, 100)}) {
      const auto ids = made->encode(sample);
      for (const auto id : ids) fuzz::require(id >= 0 && id < made->size(), "ids are in the vocabulary");
      made->decode(ids);
    }
    const auto vocabulary = tokenizer::vocabulary_of_sentencepiece(file, {}, made->size(), "tokenizer.model");
    fuzz::require(vocabulary.scores.size() == vocabulary.tokens.size(), "every token has a score");
  });
}
