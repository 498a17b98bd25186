#include "freelunch/base/utf8.h"
#include "freelunch/text/documents.h"
#include "hostile_input.h"

using namespace freelunch;

/// Texts of every kind; a name of JSON makes plain text JSON lines.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const char* name : {"t.jsonl", "t"}) {
    const auto path = fuzz::write_file(name, data, size);
    for (const bool lines : {false, true}) {
      fuzz::try_to_parse(name, [&] {
        const auto documents =
            text::read_documents(path, {.one_document_a_line = lines, .field = "text"}, silent_sinks().log);
        fuzz::require(!documents.empty(), "a text that is accepted holds a document");
        for (const std::string& document : documents)
          fuzz::require(is_valid_utf8(document), "a document is valid UTF-8");
      });
    }
  }
  return 0;
}
