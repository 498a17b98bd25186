#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <type_traits>

#include "freelunch/base/error.h"

namespace freelunch::model {

/// A number of a JSON object. Sizes (T = int64_t) must be written as integers that fit. Throws BadFile,
/// naming file and key, if it is missing or anything else.
template <typename T>
T required(const nlohmann::json& object, std::string_view key, const std::string& file) {
  constexpr bool kWhole = std::is_integral_v<T>;
  const auto it = object.find(key);
  const bool fits =
      it != object.end() && (kWhole ? it->is_number_integer() : it->is_number()) &&
      !(kWhole && it->is_number_unsigned() && it->template get<uint64_t>() > uint64_t{INT64_MAX});
  if (!fits) {
    const std::string found =
        it == object.end() ? "missing" : (it->is_structured() ? it->type_name() : it->dump());
    fail(ErrorKind::kBadFile, "{}: '{}' is {}, expected {}", file, key, found,
         kWhole ? "an integer" : "a number");
  }
  return it->template get<T>();
}

/// The same; `otherwise` if the key is missing or null.
template <typename T>
T optional_number(const nlohmann::json& object, std::string_view key, T otherwise, const std::string& file) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  return required<T>(object, key, file);
}

}  // namespace freelunch::model
