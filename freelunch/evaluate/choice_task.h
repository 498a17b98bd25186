#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/sinks.h"

namespace freelunch::evaluate {

/// A multiple-choice question. Each answer is scored by its likelihood as the continuation of a context.
struct ChoiceExample {
  std::vector<std::string> contexts;  ///< one for all answers, or one per answer
  std::vector<std::string>
      continuations;                ///< one per answer, or one for all contexts; with its leading space
  std::vector<int64_t> characters;  ///< of each answer without that space: the divisor of acc_norm
  int64_t gold = 0;  ///< index of the right answer; -1: none of them, so that every answer is wrong

  size_t choices() const { return std::max(contexts.size(), continuations.size()); }
  const std::string& context(size_t i) const { return contexts[contexts.size() == 1 ? 0 : i]; }
  const std::string& continuation(size_t i) const { return continuations[continuations.size() == 1 ? 0 : i]; }
};

/// The tasks with a built-in prompt (docs/methods/zero_shot.md), in the order of the paper's tables: boolq,
/// rte, hellaswag, winogrande, arc_easy, arc_challenge, openbookqa, piqa; and "choices", whose file holds the
/// complete contexts.
std::vector<std::string> known_tasks();

/// A task and the file of its examples.
struct ChoiceTask {
  std::string name;
  std::filesystem::path file;
};
/// Reads "NAME=FILE", or "FILE": the task whose name the file name starts with, else "choices". Throws
/// InvalidArgument for an unknown NAME.
ChoiceTask parse_task(const std::string& text);

struct ReadExamples {
  std::vector<ChoiceExample> examples;
  int64_t skipped = 0;  ///< items that are no example of the task
};

/// Reads JSON lines or a JSON array (text::json_form) with the fields of the public data sets, or with the
/// flattened fields of docs/methods/zero_shot.md; only the first `limit` examples if given. Items that cannot
/// be read are skipped, with one warning that counts them and says what is wrong with the first. An item
/// whose right answer is an index outside its answers counts as wrong, as in lm-eval, with a warning. Throws
/// BadFile if no item is left, naming the file, the line and the fault.
ReadExamples read_examples(const ChoiceTask& task, std::optional<int64_t> limit, LogSink& log);

}  // namespace freelunch::evaluate
