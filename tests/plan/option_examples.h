#pragma once
#include <map>
#include <string>

#include "freelunch/plan/options.h"

namespace freelunch::pipeline {

/// A text for the option that gives it another value than its default.
inline std::string example_text(const PlanOption& option) {
  const nlohmann::json initial = option.value(CompressPlan{});
  switch (option.kind) {
    case ValueKind::kFlag:
      return "true";
    case ValueKind::kInteger:
      return std::to_string(static_cast<int64_t>(option.range->least) +
                            (initial == option.range->least + 2 ? 3 : 2));
    case ValueKind::kNumber:
      return fmt::format("{}", option.range->least + (option.range->most - option.range->least) * 0.3);
    case ValueKind::kNumbers:
      return fmt::format("{},{}", option.range->least, option.range->most);
    case ValueKind::kFraction:
      return "0.37";
    case ValueKind::kBytes:
      return "3000000000";
    case ValueKind::kWord:
      return std::string(option.choices.front() == initial ? option.choices.back() : option.choices.front());
    case ValueKind::kStages:
      return "solve,blocks:3,lora";
    case ValueKind::kPath:
      return "folder/file";
    case ValueKind::kTexts:
      return "0.25=*mlp*";
    case ValueKind::kText:
      break;
  }
  const std::map<std::string_view, std::string> texts{
      {"pattern", "2:4"}, {"device", "cpu"}, {"field", "content"}, {"evaluate-field", "raw"}};
  return texts.at(option.name);
}

inline CompressPlan plan_with(const PlanOption& option) {
  CompressPlan plan;
  parse_option(plan, option.name, example_text(option));
  return plan;
}

}  // namespace freelunch::pipeline
