#pragma once
#include <filesystem>
#include <optional>
#include <string>

#include "freelunch/text/json_text.h"
#include "freelunch/text/text_stream.h"

namespace freelunch::text {

/// One value of a file of JSON.
struct JsonItem {
  PythonJson json;
  std::string where;  ///< "c4.json, line 3" or "c4.json, element 3": what messages start with
};

/// How a file holds JSON values.
enum class JsonForm {
  kLines,  ///< one value a line, blank lines between them
  kArray   ///< the elements of one array
};

/// Whether the text is JSON, and in which form; puts back what it read. It is if its first line is an object
/// or starts as one, or if it is an array whose first element is an object or a string. If the file is named
/// like JSON (.json, .jsonl, .ndjson, perhaps with .gz or the like behind), it is JSON lines otherwise,
/// whatever its first line.
std::optional<JsonForm> json_form(TextStream& text);

/// The values of a file, one after the other, in bounded memory.
class JsonItems {
 public:
  JsonItems(TextStream& text, JsonForm form) : text_(text), form_(form) {}
  /// The next value, or what is wrong with it (PythonJson::fault), or nothing at the end. Throws BadFile for
  /// an array that does not go on or does not end as one.
  std::optional<JsonItem> next();

 private:
  std::optional<JsonItem> next_line();
  std::optional<JsonItem> next_element();

  TextStream& text_;
  JsonForm form_;
  int64_t number_ = 0;
};

}  // namespace freelunch::text
