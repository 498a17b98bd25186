#pragma once
#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "freelunch/base/error.h"
#include "freelunch/plan/option.h"

namespace freelunch::pipeline {

/// Throws InvalidArgument if the option, which is given, goes with another that is not, or excludes one that
/// is. `values`: every option that is given.
void check_company(const OptionFacts& option, const nlohmann::json& values);

/// Refuses what only study files may give: a fraction as `pattern`. `value` is one that checked() returned.
void check_form(const OptionFacts& option, const nlohmann::json& value);

/// Whether a JSON object gives the option: null counts as absent.
bool gives(const nlohmann::json& values, std::string_view option);

/// Sets the options that a program gives as a JSON object of names and values, with the checks of a command
/// line. Throws InvalidArgument for an option that is not in the table, a value that it refuses, and options
/// that exclude or need others.
template <typename Plan>
void assign_options(Plan& plan, const std::vector<Option<Plan>>& rows, const nlohmann::json& values) {
  size_t known = 0;
  for (const Option<Plan>& row : rows) {
    if (values.contains(row.name)) ++known;
    if (!gives(values, row.name)) continue;
    check_company(row, values);
    const nlohmann::json value = checked(row, values[row.name]);
    check_form(row, value);
    row.assign(plan, value);
  }
  if (known == values.size()) return;
  for (const auto& [name, value] : values.items()) {
    const bool found =
        std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return row.name == name; });
    if (!found) fail(ErrorKind::kInvalidArgument, "there is no option '{}'", name);
  }
}

}  // namespace freelunch::pipeline
