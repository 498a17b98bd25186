#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace freelunch::evaluate {

/// A question with a few answers, each scored by its likelihood as the continuation of a context.
struct ChoiceExample {
  std::vector<std::string> contexts;       ///< one for all answers, or one for each
  std::vector<std::string> continuations;  ///< one for each answer, or one for all contexts; with its space
  std::vector<int64_t> characters;         ///< of each answer, without the space: what acc_norm divides by
  int64_t gold = 0;

  size_t choices() const { return std::max(contexts.size(), continuations.size()); }
  const std::string& context(size_t i) const { return contexts[contexts.size() == 1 ? 0 : i]; }
  const std::string& continuation(size_t i) const { return continuations[continuations.size() == 1 ? 0 : i]; }
};

/// The tasks whose prompts are known (docs/methods/zero_shot.md), in the order of the paper's tables:
/// boolq, rte, hellaswag, winogrande, arc_easy, arc_challenge, openbookqa, piqa; and "choices", whose file
/// brings its own contexts.
std::vector<std::string> known_tasks();

/// A task's examples and where they come from.
struct ChoiceTask {
  std::string name;
  std::filesystem::path file;
};
/// "NAME=FILE", or a FILE whose name begins with a known task's; "choices" for any other name. Throws
/// InvalidArgument for names that are not known.
ChoiceTask parse_task(const std::string& text);

/// Reads a .jsonl file with the fields of the public data sets or the flattened ones of docs/methods; the
/// first `limit` examples if given. Throws BadFile naming file, line and what is missing.
std::vector<ChoiceExample> read_examples(const ChoiceTask& task, std::optional<int64_t> limit);

}  // namespace freelunch::evaluate
