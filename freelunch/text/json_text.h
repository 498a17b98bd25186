#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace freelunch::text {

/// JSON text read as Python's json.loads() does: NaN, Infinity, -Infinity and numbers too large for a double
/// are accepted, and so is half a surrogate pair (\ud800), in strings that nobody asks for.
struct PythonJson {
  nlohmann::json value;  ///< such numbers are null; each half of a pair is kHalfPair
  std::string fault;     ///< what is wrong with the text; empty if it could be read
  bool has_half_pair = false;

  /// Whether a string of the value has half a pair, which is no character of any text.
  bool is_broken(const std::string& string) const;
};
PythonJson parse_json(std::string_view text);

/// "a string", "a number", "null": the type of a value, for messages.
std::string_view type_of(const nlohmann::json& value);
/// "text, url": the fields of an object, for messages; at most twenty.
std::string fields_of(const nlohmann::json& object);

}  // namespace freelunch::text
