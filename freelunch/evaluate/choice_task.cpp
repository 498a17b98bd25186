#include "freelunch/evaluate/choice_task.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/white_space.h"
#include "freelunch/text/json_items.h"
#include "freelunch/tokenizer/letter_case.h"

namespace freelunch::evaluate {
namespace {

using nlohmann::json;

/// One line of a file. Its errors name the file and the line.
class Item {
 public:
  explicit Item(const text::JsonItem& item) : json_(item.json), object_(item.json.value), where_(item.where) {
    if (!json_.fault.empty()) refuse("not valid JSON: " + json_.fault);
    if (!object_.is_object()) refuse("not a JSON object");
  }

  bool has(const char* field) const { return object_.contains(field); }
  std::string text(const char* field) const {
    const json& value = at(field);
    if (!value.is_string()) refuse(fmt::format("field \"{}\" is not a string", field));
    return whole(value.get_ref<const std::string&>());
  }
  std::vector<std::string> texts(const char* field) const {
    const json& value = at(field);
    // the public sets keep {"text": [...], "label": [...]}
    const json& list = value.is_object() && value.contains("text") ? value["text"] : value;
    if (!list.is_array() || list.empty() ||
        !std::all_of(list.begin(), list.end(), [](const json& s) { return s.is_string(); }))
      refuse(fmt::format("field \"{}\" is not a list of strings", field));
    for (const json& one : list) whole(one.get_ref<const std::string&>());
    return list.get<std::vector<std::string>>();
  }
  /// The right answer: "gold", "label" or "answer" as an index (or true/false, or winogrande's "1"/"2"), or
  /// "answerKey" among the choices' labels.
  int64_t gold(size_t choices, int64_t first_answer = 0) const {
    int64_t index = -1;
    if (has("gold")) {
      index = number("gold");
    } else if (has("label")) {
      index = number("label");
    } else if (has("answerKey")) {
      index = label_index(text("answerKey"));
    } else if (has("answer")) {
      index = number("answer") - first_answer;
    } else {
      refuse("needs one of \"gold\", \"label\", \"answer\", \"answerKey\"");
    }
    return index >= 0 && index < static_cast<int64_t>(choices) ? index : -1;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    fail(ErrorKind::kBadFile, "{}: {}", where_, what);
  }

 private:
  const json& at(const char* field) const {
    if (!object_.contains(field)) refuse(fmt::format("needs a field \"{}\"", field));
    return object_[field];
  }
  int64_t number(const char* field) const {
    const json& value = at(field);
    if (value.is_number_integer()) return value.get<int64_t>();
    if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
    if (value.is_string()) {
      const std::string digits = value.get<std::string>();
      if (digits.size() == 1 && digits[0] >= '0' && digits[0] <= '9') return digits[0] - '0';
    }
    refuse(fmt::format("field \"{}\" is not an index", field));
  }
  int64_t label_index(const std::string& key) const {
    const json& choices = at("choices");
    if (!choices.is_object() || !choices.contains("label") || !choices["label"].is_array())
      refuse("has an \"answerKey\" but no choices with labels");
    const json& labels = choices["label"];
    for (size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] == key) return static_cast<int64_t>(i);
    }
    refuse(fmt::format("no choice has the label \"{}\"", key));
  }

  /// Refuses half of a surrogate pair, which is no character.
  const std::string& whole(const std::string& text) const {
    if (json_.is_broken(text)) refuse("a text has half of a surrogate pair, which is no character");
    return text;
  }

  const text::PythonJson& json_;
  const json& object_;
  const std::string& where_;
};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// Cleans HellaSwag's texts as the LM evaluation harness does.
std::string clean_hellaswag(const std::string& raw) {
  std::string text(strip(raw));
  replace_all(text, " [title]", ". ");
  for (size_t open = text.find('['); open != std::string::npos; open = text.find('[', open)) {
    const size_t close = text.find(']', open);
    const size_t line = text.find('\n', open);
    if (close == std::string::npos) break;
    if (line != std::string::npos && line < close)
      ++open;  // a bracket does not reach over lines
    else
      text.erase(open, close - open + 1);
  }
  replace_all(text, "  ", " ");
  return text;
}

int64_t count_characters(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

ChoiceExample one_context(std::string context, const std::vector<std::string>& choices, int64_t gold) {
  ChoiceExample example{
      .contexts = {std::move(context)}, .continuations = {}, .characters = {}, .gold = gold};
  for (const std::string& choice : choices) {
    example.continuations.push_back(fmt::format(" {}", choice));
    example.characters.push_back(count_characters(choice));
  }
  return example;
}

ChoiceExample boolq(const Item& item) {
  if (item.has("prompt")) {  // flattened: with a ready prompt and a list of choices
    const auto choices = item.texts("choices");
    return one_context(item.text("prompt"), choices, item.gold(choices.size()));
  }
  return one_context(fmt::format("{}\nQuestion: {}?\nAnswer:", item.text("passage"), item.text("question")),
                     {"no", "yes"}, item.gold(2));
}

ChoiceExample rte(const Item& item) {
  const bool glue = item.has("sentence1");
  const std::string premise = item.text(glue ? "sentence1" : "premise");
  const std::string hypothesis = item.text(glue ? "sentence2" : "hypothesis");
  return one_context(fmt::format("{}\nQuestion: {} True or False?\nAnswer:", premise, hypothesis),
                     {"True", "False"}, item.gold(2));
}

ChoiceExample hellaswag(const Item& item) {
  if (item.has("endings")) {
    std::vector<std::string> endings = item.texts("endings");
    for (std::string& ending : endings) ending = clean_hellaswag(ending);
    const std::string context = fmt::format("{}: {} {}", item.text("activity_label"), item.text("ctx_a"),
                                            tokenizer::capitalize(item.text("ctx_b")));
    return one_context(clean_hellaswag(context), endings, item.gold(endings.size()));
  }
  const auto choices = item.texts("choices");
  return one_context(item.text("ctx"), choices, item.gold(choices.size()));
}

ChoiceExample winogrande(const Item& item) {
  const std::string sentence = item.text("sentence");
  const size_t blank = sentence.find('_');
  if (blank == std::string::npos) item.refuse("the sentence has no blank \"_\"");
  ChoiceExample example;
  for (const char* option : {"option1", "option2"}) {
    example.contexts.push_back(sentence.substr(0, blank) + item.text(option));
  }
  const std::string rest(strip(std::string_view(sentence).substr(blank + 1)));
  example.continuations = {fmt::format(" {}", rest)};
  // the harness divides by the length of its "choices", which are the contexts here
  for (const std::string& context : example.contexts) example.characters.push_back(count_characters(context));
  example.gold = item.gold(2, /*first_answer=*/1);
  if (example.gold < 0) item.refuse("the right answer is neither 1 nor 2");
  return example;
}

ChoiceExample arc(const Item& item) {
  const auto choices = item.texts("choices");
  return one_context(fmt::format("Question: {}\nAnswer:", item.text("question")), choices,
                     item.gold(choices.size()));
}

ChoiceExample openbookqa(const Item& item) {
  const auto choices = item.texts("choices");
  return one_context(item.text(item.has("question_stem") ? "question_stem" : "question"), choices,
                     item.gold(choices.size()));
}

ChoiceExample piqa(const Item& item) {
  return one_context(fmt::format("Question: {}\nAnswer:", item.text("goal")),
                     {item.text("sol1"), item.text("sol2")}, item.gold(2));
}

ChoiceExample ready_made(const Item& item) {
  if (item.has("contexts")) {
    ChoiceExample example{.contexts = item.texts("contexts"),
                          .continuations = {fmt::format(" {}", item.text("continuation"))},
                          .characters = {},
                          .gold = 0};
    for (const std::string& context : example.contexts)
      example.characters.push_back(count_characters(context));
    example.gold = item.gold(example.contexts.size());
    return example;
  }
  const auto choices = item.texts("choices");
  return one_context(item.text("context"), choices, item.gold(choices.size()));
}

using Reader = ChoiceExample (*)(const Item&);
constexpr std::array<std::pair<std::string_view, Reader>, 9> kTasks{{{"boolq", boolq},
                                                                     {"rte", rte},
                                                                     {"hellaswag", hellaswag},
                                                                     {"winogrande", winogrande},
                                                                     {"arc_easy", arc},
                                                                     {"arc_challenge", arc},
                                                                     {"openbookqa", openbookqa},
                                                                     {"piqa", piqa},
                                                                     {"choices", ready_made}}};

}  // namespace

std::vector<std::string> known_tasks() {
  std::vector<std::string> names;
  for (const auto& [name, reader] : kTasks) names.emplace_back(name);
  return names;
}

ChoiceTask parse_task(const std::string& text) {
  const auto known = known_tasks();
  if (const size_t equals = text.find('='); equals != std::string::npos) {
    const std::string name = text.substr(0, equals);
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      std::string names;
      for (const std::string& task : known) names += (names.empty() ? "" : ", ") + task;
      fail(ErrorKind::kInvalidArgument, "task '{}' is not known; expected one of {}", name, names);
    }
    return {.name = name, .file = text.substr(equals + 1)};
  }
  const std::filesystem::path file = text;
  for (const std::string& name : known) {
    if (file.filename().string().starts_with(name)) return {.name = name, .file = file};
  }
  return {.name = "choices", .file = file};
}

ReadExamples read_examples(const ChoiceTask& task, std::optional<int64_t> limit, LogSink& log) {
  const auto entry =
      std::find_if(kTasks.begin(), kTasks.end(), [&](const auto& t) { return t.first == task.name; });
  text::TextStream stream(task.file);
  text::JsonItems items(stream, text::json_form(stream).value_or(text::JsonForm::kLines));
  ReadExamples read;
  std::string first_fault, first_wrong;
  int64_t wrong = 0;
  while (!limit || static_cast<int64_t>(read.examples.size()) < *limit) {
    const std::optional<text::JsonItem> item = items.next();
    if (!item) break;
    try {
      read.examples.push_back(entry->second(Item(*item)));
      if (read.examples.back().gold < 0 && ++wrong == 1) first_wrong = item->where;
    } catch (const Error& error) {
      if (++read.skipped == 1) first_fault = error.what();
    }
  }
  if (read.examples.empty() && read.skipped > 0) fail(ErrorKind::kBadFile, "{}", first_fault);
  if (read.examples.empty()) fail(ErrorKind::kBadFile, "task '{}' contains no examples", task.file.string());
  if (wrong == static_cast<int64_t>(read.examples.size()))
    fail(ErrorKind::kBadFile,
         "{}: the right answer is none of the answers, here and in all items ({}); a test set?", first_wrong,
         wrong);
  if (read.skipped > 0)
    log.log(LogLevel::kWarning, fmt::format("{}; items skipped: {}, {} are left", first_fault, read.skipped,
                                            read.examples.size()));
  if (wrong > 0)
    log.log(LogLevel::kWarning,
            fmt::format("{}: the right answer is none of the answers; such items count as wrong: {} of {}",
                        first_wrong, wrong, read.examples.size()));
  return read;
}

}  // namespace freelunch::evaluate
