#include "freelunch/evaluate/choice_task.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/tokenizer/letter_case.h"

namespace freelunch::evaluate {
namespace {

using nlohmann::json;

/// One line of a file. Its errors name the file and the line.
class Item {
 public:
  Item(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool has(const char* field) const { return object_.contains(field); }
  std::string text(const char* field) const {
    const json& value = at(field);
    if (!value.is_string()) refuse(fmt::format("field \"{}\" is not a string", field));
    return value.get<std::string>();
  }
  std::vector<std::string> texts(const char* field) const {
    const json& value = at(field);
    // the public sets keep {"text": [...], "label": [...]}
    const json& list = value.is_object() && value.contains("text") ? value["text"] : value;
    if (!list.is_array() || list.empty() ||
        !std::all_of(list.begin(), list.end(), [](const json& s) { return s.is_string(); }))
      refuse(fmt::format("field \"{}\" is not a list of strings", field));
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
    if (index < 0 || index >= static_cast<int64_t>(choices))
      refuse(fmt::format("the right answer is number {} of {}", index, choices));
    return index;
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

  const json& object_;
  std::string where_;
};

std::string strip(const std::string& text) {
  constexpr const char* kSpace = " \t\n\r\v\f";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// Cleans HellaSwag's texts as the LM evaluation harness does.
std::string clean_hellaswag(const std::string& raw) {
  std::string text = strip(raw);
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
  const std::string rest = strip(sentence.substr(blank + 1));
  example.continuations = {fmt::format(" {}", rest)};
  // the harness divides by the length of its "choices", which are the contexts here
  for (const std::string& context : example.contexts) example.characters.push_back(count_characters(context));
  example.gold = item.gold(2, /*first_answer=*/1);
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

std::vector<ChoiceExample> read_examples(const ChoiceTask& task, std::optional<int64_t> limit) {
  const auto entry =
      std::find_if(kTasks.begin(), kTasks.end(), [&](const auto& t) { return t.first == task.name; });
  std::ifstream stream(task.file);
  if (!stream)
    fail(ErrorKind::kBadFile, "cannot open task '{}': {}", task.file.string(), system_error_text());
  std::vector<ChoiceExample> examples;
  int64_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (limit && static_cast<int64_t>(examples.size()) >= *limit) break;
    if (strip(line).empty()) continue;
    const std::string where = fmt::format("{}, line {}", task.file.filename().string(), number);
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    try {
      if (!object.is_object()) fail(ErrorKind::kBadFile, "{}: not a JSON object", where);
      examples.push_back(entry->second(Item(object, where)));
    } catch (const Error& error) {
      examples.push_back({.contexts = {}, .continuations = {}, .characters = {}, .fault = error.what()});
    }
  }
  if (examples.empty()) fail(ErrorKind::kBadFile, "task '{}' contains no examples", task.file.string());
  const bool none = std::all_of(examples.begin(), examples.end(),
                                [](const ChoiceExample& example) { return !example.fault.empty(); });
  if (none) fail(ErrorKind::kBadFile, "{}", examples.front().fault);
  return examples;
}

}  // namespace freelunch::evaluate
