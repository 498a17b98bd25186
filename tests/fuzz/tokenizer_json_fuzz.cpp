#include "freelunch/tokenizer/tokenizer_json.h"
#include "hostile_input.h"

using namespace freelunch;

/// tokenizer.json, and encoding with what it makes.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("tokenizer.json", [&] {
    const std::string_view text = fuzz::text_of(data, size);
    const auto made = tokenizer::from_tokenizer_json(text, "tokenizer.json");
    for (const std::string_view sample :
         {std::string_view(
              "Hello  world 1234\n\t h\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC\xF0\x9F\x98\x80 \xFF aaaaaaaaaa"),
          text.substr(0, 300)}) {
      const auto ids = made->encode(sample);
      for (const auto id : ids) fuzz::require(id >= 0 && id < made->size(), "ids are in the vocabulary");
      made->decode(ids);
    }
  });
}
