#include "freelunch/checkpoint/files/journal_file.h"
#include "hostile_input.h"

using namespace freelunch;

/// A journal's text: whatever it is, some first lines of it count, and those alone read as the same records.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return fuzz::try_to_parse("journal.jsonl", [&] {
    const std::string_view text = fuzz::text_of(data, size);
    const checkpoint::JournalContent content = checkpoint::read_journal(text);
    fuzz::require(content.bytes <= text.size(), "what counts is a part of the text");
    const checkpoint::JournalContent again = checkpoint::read_journal(text.substr(0, content.bytes));
    fuzz::require(again.records == content.records && again.last_digest == content.last_digest,
                  "what counts does not depend on what follows");
  });
}
