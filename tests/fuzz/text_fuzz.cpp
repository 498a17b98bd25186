#include "freelunch/calibration/text.h"
#include "hostile_input.h"

using namespace freelunch;

/// Calibration text: JSON lines, packed JSON lines, plain text.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  for (const char* name : {"t.jsonl", "t.jsonl.gz", "t.txt"}) {
    const auto path = fuzz::write_file(name, data, size);
    fuzz::try_to_parse(name, [&] {
      for (const bool lines : {false, true})
        fuzz::require(!calibration::read_documents(path, {.one_document_a_line = lines}).empty(),
                      "a text that is accepted holds a document");
    });
  }
  return 0;
}
