#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "freelunch/base/enum_names.h"

namespace freelunch::pipeline {

/// What an option applies to. Elsewhere it changes nothing, and reports and study cells leave it out.
enum class Use {
  kEveryRun,
  kMasks,        ///< choosing masks; not for a model that came pruned
  kStructure,    ///< choosing the units that a smaller shape keeps
  kStatistics,   ///< choosing masks, and solve
  kCalibration,  ///< runs with a calibration text
  kEvaluation,   ///< runs with an evaluation text
  kSolve,
  kSensitivity,  ///< solve and the choice of masks, with an output metric
  kRegions,      ///< stages of regions: StageScope::kRegions
  kWholeModel,   ///< stages of the whole model: StageScope::kModel
  kLora
};

enum class Effect {
  kResult,    ///< changes the weights or the figures that a run writes: part of its fingerprint
  kInput,     ///< a file; the fingerprint has its digest instead of its path
  kReported,  ///< changes nothing that is measured, but the report states it
  kNone       ///< where and how files are written, and how a run is resumed
};

enum class ValueKind {
  kFlag,
  kInteger,
  kNumber,
  kNumbers,   ///< a list
  kFraction,  ///< a number, or a percentage as text: "50%"
  kBytes,     ///< an integer, or text such as "2GiB"
  kWord,      ///< one of `choices`
  kText,
  kTexts,   ///< a list; on the command line the option is repeated
  kStages,  ///< a list of stage names, or one text: "solve,sublayer"
  kPath
};

struct ValueRange {
  double least = 0;
  double most = 0;
  bool least_excluded = false;
  bool most_excluded = false;
};
constexpr ValueRange from_to(double least, double most) { return {.least = least, .most = most}; }
/// least < x <= most
constexpr ValueRange above_to(double least, double most) {
  return {.least = least, .most = most, .least_excluded = true};
}

/// All that is known of an option apart from the plan that holds its value.
struct OptionFacts {
  std::string_view name;  ///< "model-batch": the field in errors and JSON; the command's flag has dashes
  std::string_view help;
  std::string_view group = {};
  ValueKind kind = ValueKind::kFlag;
  Use use = Use::kEveryRun;
  Effect effect = Effect::kResult;
  std::optional<ValueRange> range = {};        ///< of numbers; of each number of a list
  std::vector<std::string_view> choices = {};  ///< of words
  std::string_view form = {};                  ///< what a text looks like, if not any text will do
  std::string_view unset = {};                 ///< what happens if it is not given and has no default
  std::string_view excludes = {};              ///< the option that cannot be given with it
  std::string_view needs = {};                 ///< the option that must be given with it
};

/// "an integer from 1 to 64", "one of mse, cosine": completes "expected ...".
std::string expected_text(const OptionFacts& option);

/// The value with its type and range checked: percentages, sizes and lists of stages are brought into one
/// form. Throws InvalidArgument naming the field.
nlohmann::json checked(const OptionFacts& option, const nlohmann::json& value);

/// The value that a command line gives; more than one text only for a list. Checked likewise.
nlohmann::json read_value(const OptionFacts& option, const std::vector<std::string>& texts);

/// The text that read_value() reads as that value; empty for null, the absent value.
std::string text_of(const nlohmann::json& value);

/// "`samples`": how errors and log lines of the library name the fields of a plan.
std::string field_name(std::string_view option);
/// A message with each `name` in it that `spell` knows respelled, such as --name for a terminal. `spell`
/// returns nothing for a name that it does not know; that one stays.
std::string respell_fields(std::string_view message,
                           const std::function<std::optional<std::string>(std::string_view)>& spell);

/// A row of the table of options of a Plan.
template <typename Plan>
struct Option : OptionFacts {
  /// Sets the field; the value is one that checked() returned. Throws InvalidArgument.
  std::function<void(Plan&, const nlohmann::json&)> assign;
  std::function<nlohmann::json(const Plan&)> value;  ///< null if absent

  Option in(std::string_view in_group) const { return changed(&OptionFacts::group, in_group); }
  Option of_form(std::string_view its_form) const { return changed(&OptionFacts::form, its_form); }
  Option with(Effect its_effect) const { return changed(&OptionFacts::effect, its_effect); }
  Option without_it(std::string_view happens) const { return changed(&OptionFacts::unset, happens); }
  Option excluding(std::string_view other) const { return changed(&OptionFacts::excludes, other); }
  Option needing(std::string_view other) const { return changed(&OptionFacts::needs, other); }

 private:
  template <typename Member, typename Value>
  Option changed(Member OptionFacts::*member, Value to) const {
    Option copy = *this;
    copy.*member = to;
    return copy;
  }
};

/// Where in a plan a value is: field(&CompressPlan::region, &RegionOptions::batch).
template <typename... Members>
auto field(Members... members) {
  return [members...](auto& plan) -> auto& { return (plan.*....*members); };
}

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

/// Makes rows for a Plan, each from its name, help, use and field.
template <typename Plan>
struct Rows {
  using Row = Option<Plan>;

  /// A number: an integer if the field is one. An optional field is absent unless it is given.
  static Row number(std::string_view name, std::string_view help, Use use, ValueRange range, auto field) {
    using Value = std::remove_cvref_t<decltype(field(std::declval<Plan&>()))>;
    Row row = make(name, help, use, kind_of<Value>(), field);
    row.range = range;
    return row;
  }
  static Row numbers(std::string_view name, std::string_view help, Use use, ValueRange range, auto field) {
    Row row = make(name, help, use, ValueKind::kNumbers, field);
    row.range = range;
    return row;
  }
  static Row flag(std::string_view name, std::string_view help, Use use, auto field) {
    return make(name, help, use, ValueKind::kFlag, field);
  }
  static Row text(std::string_view name, std::string_view help, Use use, auto field) {
    return make(name, help, use, ValueKind::kText, field);
  }
  static Row bytes(std::string_view name, std::string_view help, Use use, auto field) {
    Row row = make(name, help, use, ValueKind::kBytes, field);
    row.range = from_to(1, 9e18);
    return row;
  }
  static Row path(std::string_view name, std::string_view help, Use use, auto field) {
    Row row{{.name = name, .help = help, .kind = ValueKind::kPath, .use = use}, {}, {}};
    row.assign = [field](Plan& plan, const nlohmann::json& v) { field(plan) = v.get<std::string>(); };
    row.value = [field](const Plan& plan) {
      return field(plan).empty() ? nlohmann::json() : nlohmann::json(field(plan).string());
    };
    return row;
  }
  /// A text field that takes one of some words.
  static Row word(std::string_view name, std::string_view help, Use use,
                  std::vector<std::string_view> choices, auto field) {
    Row row = make(name, help, use, ValueKind::kWord, field);
    row.choices = std::move(choices);
    return row;
  }
  /// An enum, or an optional one, by its table of names, which must outlive the row.
  template <typename T, size_t N>
  static Row word(std::string_view name, std::string_view help, Use use, const EnumNames<T, N>& names,
                  auto field) {
    Row row{{.name = name, .help = help, .kind = ValueKind::kWord, .use = use}, {}, {}};
    for (const auto& [value, value_name] : names) row.choices.push_back(value_name);
    row.assign = [field, name, &names](Plan& plan, const nlohmann::json& v) {
      field(plan) = parse_named(names, v.get<std::string>(), name);
    };
    row.value = [field, &names](const Plan& plan) -> nlohmann::json {
      const auto& value = field(plan);
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, std::optional<T>>)
        return value ? nlohmann::json(name_in(names, *value)) : nlohmann::json();
      else
        return name_in(names, value);
    };
    return row;
  }

 private:
  template <typename Value>
  static constexpr ValueKind kind_of() {
    if constexpr (IsOptional<Value>::value)
      return kind_of<typename Value::value_type>();
    else
      return std::is_integral_v<Value> ? ValueKind::kInteger : ValueKind::kNumber;
  }
  /// A row whose JSON value is the field itself.
  static Row make(std::string_view name, std::string_view help, Use use, ValueKind kind, auto field) {
    using Value = std::remove_cvref_t<decltype(field(std::declval<Plan&>()))>;
    Row row{{.name = name, .help = help, .kind = kind, .use = use}, {}, {}};
    if constexpr (IsOptional<Value>::value) {
      row.assign = [field](Plan& plan, const nlohmann::json& v) {
        field(plan) = v.get<typename Value::value_type>();
      };
      row.value = [field](const Plan& plan) {
        return field(plan) ? nlohmann::json(*field(plan)) : nlohmann::json();
      };
    } else {
      row.assign = [field](Plan& plan, const nlohmann::json& v) { field(plan) = v.get<Value>(); };
      row.value = [field](const Plan& plan) { return nlohmann::json(field(plan)); };
    }
    return row;
  }
};

}  // namespace freelunch::pipeline
