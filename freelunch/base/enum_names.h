#pragma once
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "freelunch/base/error.h"

namespace freelunch {

/// The values of an enum with their names, as options, reports and files spell them.
template <typename T, size_t N>
using EnumNames = std::array<std::pair<T, std::string_view>, N>;

/// The value with the name `text`. Throws InvalidArgument listing the known names; `what` is the kind of
/// thing that is named, for the message ("format").
template <typename T, size_t N>
T parse_named(const EnumNames<T, N>& all, std::string_view text, std::string_view what) {
  std::string known;
  for (const auto& [value, value_name] : all) {
    if (value_name == text) return value;
    known += (known.empty() ? "" : ", ") + std::string(value_name);
  }
  fail(ErrorKind::kInvalidArgument, "{} '{}' is not known; expected one of {}", what, text, known);
}

/// The name of a value; empty if the table lacks it.
template <typename T, size_t N>
std::string_view name_in(const EnumNames<T, N>& all, T value) {
  for (const auto& [known, value_name] : all) {
    if (known == value) return value_name;
  }
  return "";
}

}  // namespace freelunch
