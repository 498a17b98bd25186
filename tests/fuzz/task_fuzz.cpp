#include "freelunch/evaluate/choice_task.h"
#include "hostile_input.h"

using namespace freelunch;

/// Examples of zero-shot tasks, each task's fields.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto kTasks = evaluate::known_tasks();
  const auto path = fuzz::write_file("t.jsonl", data, size);
  for (const std::string& name : kTasks) {
    fuzz::try_to_parse("t.jsonl", [&] {
      for (const auto& example :
           evaluate::read_examples({.name = name, .file = path}, std::nullopt, silent_sinks().log).examples) {
        fuzz::require(example.gold >= -1 && example.gold < static_cast<int64_t>(example.choices()),
                      "the right answer is one of the answers, or none");
        for (size_t i = 0; i < example.choices(); ++i)
          fuzz::require(!example.continuation(i).empty() || !example.context(i).empty(),
                        "a choice has a text");
      }
    });
  }
  return 0;
}
