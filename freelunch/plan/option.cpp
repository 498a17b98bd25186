#include "freelunch/plan/option.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "freelunch/base/error.h"
#include "freelunch/plan/memory_options.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

std::string range_text(const ValueRange& range) {
  if (!range.least_excluded && !range.most_excluded)
    return fmt::format("from {} to {}", range.least, range.most);
  return fmt::format("{} {} and {} {}", range.least_excluded ? "above" : "at least", range.least,
                     range.most_excluded ? "below" : "at most", range.most);
}

/// A value as an error shows it: texts in quotes.
std::string shown(const json& value) {
  return value.is_string() ? fmt::format("'{}'", value.get<std::string>()) : text_of(value);
}

[[noreturn]] void refuse(const OptionFacts& option, const json& value) {
  fail(ErrorKind::kInvalidArgument, "{} is {}, expected {}", field_name(option.name), shown(value),
       expected_text(option));
}

bool in_range(const OptionFacts& option, const json& value) {
  const auto x = value.get<double>();
  if (!std::isfinite(x)) return false;
  if (!option.range) return true;
  const ValueRange& range = *option.range;
  return (range.least_excluded ? x > range.least : x >= range.least) &&
         (range.most_excluded ? x < range.most : x <= range.most);
}

template <typename T>
std::optional<T> number_in(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

json fraction_in(const std::string& text) {
  const bool percent = text.ends_with('%');
  const auto value =
      number_in<double>(std::string_view(text).substr(0, text.size() - static_cast<size_t>(percent)));
  if (!value) return text;
  return percent ? *value / 100 : *value;
}

/// A list, or one element of it, with each element checked.
json checked_list(const OptionFacts& option, const json& value) {
  const json all = value.is_array() ? value : json::array({value});
  const bool numbers = option.kind == ValueKind::kNumbers;
  for (const json& one : all) {
    const bool good = numbers ? one.is_number() && in_range(option, one)
                              : one.is_string() && !one.get<std::string>().empty();
    if (!good) refuse(option, value);
  }
  if (numbers && all.empty()) refuse(option, value);
  return all;
}

json checked_stages(const OptionFacts& option, const json& value) {
  if (value.is_string() && !value.get<std::string>().empty()) return value;
  if (!value.is_array() ||
      !std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); }))
    refuse(option, value);
  return value.empty() ? "none" : text_of(value);
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> items(1);
  for (const char c : list) {
    if (c == ',')
      items.emplace_back();
    else
      items.back() += c;
  }
  return items;
}

/// The JSON value that a text means, or the text if it does not mean any; then checked() refuses it.
json value_in(const OptionFacts& option, const std::string& text) {
  switch (option.kind) {
    case ValueKind::kFlag:
      return text == "true" ? json(true) : text == "false" ? json(false) : json(text);
    case ValueKind::kInteger: {
      const auto value = number_in<int64_t>(text);
      return value ? json(*value) : json(text);
    }
    case ValueKind::kNumber:
    case ValueKind::kNumbers: {
      const auto value = number_in<double>(text);
      return value ? json(*value) : json(text);
    }
    default:
      return text;
  }
}

}  // namespace

std::string expected_text(const OptionFacts& option) {
  if (!option.form.empty()) return std::string(option.form);
  const std::string range = option.range ? fmt::format(" {}", range_text(*option.range)) : "";
  switch (option.kind) {
    case ValueKind::kFlag:
      return "true or false";
    case ValueKind::kInteger:
      return "an integer" + range;
    case ValueKind::kNumber:
      return "a number" + range;
    case ValueKind::kNumbers:
      return "a list of numbers" + range;
    case ValueKind::kFraction:
      return "a number" + range + ", or a percentage such as 50%";
    case ValueKind::kBytes:
      return "a number of bytes such as 2GiB, 700MB or 1.5G";
    case ValueKind::kWord: {
      std::string all = "one of ";
      for (size_t i = 0; i < option.choices.size(); ++i)
        all += fmt::format("{}{}", i == 0 ? "" : ", ", option.choices[i]);
      return all;
    }
    case ValueKind::kTexts:
      return "a list of texts that are not empty";
    case ValueKind::kStages:
      return "auto, none, or a list of stages such as solve,sublayer";
    case ValueKind::kPath:
      return "a path";
    case ValueKind::kText:
      break;
  }
  return "a text that is not empty";
}

json checked(const OptionFacts& option, const json& value) {
  const bool text = value.is_string();
  const std::string content = text ? value.get<std::string>() : "";
  switch (option.kind) {
    case ValueKind::kFlag:
      if (!value.is_boolean()) refuse(option, value);
      return value;
    case ValueKind::kInteger:
      if (!value.is_number_integer() || !in_range(option, value)) refuse(option, value);
      return value;
    case ValueKind::kNumber:
      if (!value.is_number() || !in_range(option, value)) refuse(option, value);
      return value;
    case ValueKind::kFraction: {
      const json number = text ? fraction_in(content) : value;
      if (!number.is_number() || !in_range(option, number)) refuse(option, number);
      return number;
    }
    case ValueKind::kBytes: {
      const std::optional<int64_t> bytes = text ? bytes_in(content) : std::nullopt;
      const json number = bytes ? json(*bytes) : value;
      if (!number.is_number_integer() || !in_range(option, number)) refuse(option, value);
      return number;
    }
    case ValueKind::kNumbers:
    case ValueKind::kTexts:
      return checked_list(option, value);
    case ValueKind::kStages:
      return checked_stages(option, value);
    case ValueKind::kWord:
      if (!text || std::find(option.choices.begin(), option.choices.end(), content) == option.choices.end())
        refuse(option, value);
      return value;
    case ValueKind::kText:
    case ValueKind::kPath:
      if (!text || content.empty()) refuse(option, value);
      return value;
  }
  return value;
}

json read_value(const OptionFacts& option, const std::vector<std::string>& texts) {
  json values = json::array();
  for (const std::string& text : texts) {
    if (option.kind == ValueKind::kNumbers) {
      for (const std::string& item : split(text)) values.push_back(value_in(option, item));
    } else {
      values.push_back(value_in(option, text));
    }
  }
  const bool list = option.kind == ValueKind::kNumbers || option.kind == ValueKind::kTexts;
  if (list && !values.empty()) return checked(option, values);
  return checked(option, values.size() == 1 ? values.front() : json(""));
}

std::string text_of(const json& value) {
  if (value.is_null()) return "";
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_float()) return fmt::format("{}", value.get<double>());
  if (!value.is_array()) return value.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string list;
  for (const json& item : value) list += fmt::format("{}{}", list.empty() ? "" : ",", text_of(item));
  return list;
}

std::string field_name(std::string_view option) { return fmt::format("`{}`", option); }

std::string respell_fields(std::string_view message,
                           const std::function<std::optional<std::string>(std::string_view)>& spell) {
  std::string out;
  while (true) {
    const size_t open = message.find('`');
    const size_t close = open == std::string_view::npos ? open : message.find('`', open + 1);
    if (close == std::string_view::npos) return out.append(message);
    const auto spelled = spell(message.substr(open + 1, close - open - 1));
    out.append(message.substr(0, open));
    if (spelled) out += *spelled;
    // an unknown name stays, and its closing mark may open the next one
    else
      out.append(message.substr(open, close - open));
    message.remove_prefix(spelled ? close + 1 : close);
  }
}

}  // namespace freelunch::pipeline
