#include "freelunch/text/json_items.h"

#include <algorithm>
#include <array>

#include "freelunch/base/error.h"
#include "freelunch/base/white_space.h"

namespace freelunch::text {
namespace {

bool is_named_like_json(const std::string& name) {
  std::filesystem::path path(name);
  constexpr std::array<std::string_view, 5> kPacked{".gz", ".zst", ".bz2", ".xz", ".zstd"};
  if (std::find(kPacked.begin(), kPacked.end(), path.extension()) != kPacked.end()) path = path.stem();
  constexpr std::array<std::string_view, 3> kJson{".json", ".jsonl", ".ndjson"};
  return std::find(kJson.begin(), kJson.end(), path.extension()) != kJson.end();
}

bool is_json_space(int c) { return c == ' ' || c == '\t' || c == '\n'; }

/// Whether text starts as an object does, {"key": whatever follows. Such text is JSON even if it is broken,
/// so that a fault in it is reported instead of being read as plain text.
bool starts_as_object(std::string_view text) {
  const auto skip_space = [&] { text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size())); };
  if (!text.starts_with('{')) return false;
  text.remove_prefix(1);
  skip_space();
  if (!text.starts_with('"')) return false;
  const size_t quote = text.find('"', 1);
  if (quote == std::string_view::npos) return false;
  text.remove_prefix(quote + 1);
  skip_space();
  return text.starts_with(':');
}

/// The text of an array's element, up to the comma or bracket that ends it, which stays.
std::string read_element(TextStream& text) {
  std::string element;
  int depth = 0;
  bool in_string = false;
  for (int c = text.get(); c >= 0; c = text.get()) {
    if (!in_string && depth == 0 && (c == ',' || c == ']')) {
      text.unread(std::string(1, static_cast<char>(c)));
      break;
    }
    element += static_cast<char>(c);
    if (in_string && c == '\\') {
      const int escaped = text.get();
      if (escaped >= 0) element += static_cast<char>(escaped);
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string) {
      depth += static_cast<int>(c == '{' || c == '[') - static_cast<int>(c == '}' || c == ']');
    }
  }
  return element;
}

/// Whether the text, which starts with a bracket, is an array of objects or strings; puts back what it read.
bool is_array(TextStream& text) {
  std::string taken(1, static_cast<char>(text.get()));
  int c = text.get();
  for (; is_json_space(c); c = text.get()) taken += static_cast<char>(c);
  bool result = c == ']';
  if (c >= 0) text.unread(std::string(1, static_cast<char>(c)));
  if (c == '{' || c == '"') {
    const std::string element = read_element(text);
    taken += element;
    result = starts_as_object(element) || parse_json(element).fault.empty();
  }
  text.unread(taken);
  return result;
}

}  // namespace

std::optional<JsonForm> json_form(TextStream& text) {
  const bool named = is_named_like_json(text.name());
  std::string blank;
  std::string line;
  while (text.line(line) && is_blank(line)) blank += line;
  const std::string_view content = strip(line);
  const bool object =
      starts_as_object(content) || (content.starts_with('{') && parse_json(content).value.is_object());
  const bool bracket = content.starts_with('[');
  const size_t start = bracket ? line.find('[') : 0;
  blank += line.substr(0, start);
  text.unread(std::string_view(line).substr(start));
  const bool array = bracket && is_array(text);
  if (array) return JsonForm::kArray;
  text.unread(blank);
  if (object || named) return JsonForm::kLines;
  return std::nullopt;
}

std::optional<JsonItem> JsonItems::next() { return form_ == JsonForm::kLines ? next_line() : next_element(); }

std::optional<JsonItem> JsonItems::next_line() {
  for (std::string line; text_.line(line);) {
    ++number_;
    if (is_blank(line)) continue;
    return JsonItem{.json = parse_json(strip(line)),
                    .where = fmt::format("{}, line {}", text_.name(), number_)};
  }
  return std::nullopt;
}

std::optional<JsonItem> JsonItems::next_element() {
  const auto next = [&] {
    int c = text_.get();
    while (is_json_space(c)) c = text_.get();
    return c;
  };
  const int before = next();
  if (before == ']') {
    if (next() >= 0) fail(ErrorKind::kBadFile, "{}: text after the end of the JSON array", text_.name());
    return std::nullopt;
  }
  if (number_ > 0 && before != ',')
    fail(ErrorKind::kBadFile, "{}: the JSON array does not end after element {}; an incomplete download?",
         text_.name(), number_);
  if (number_ == 0) {  // after the bracket that opens the array
    const int first = next();
    if (first == ']') return std::nullopt;
    text_.unread(std::string(1, static_cast<char>(first)));
  }
  ++number_;
  return JsonItem{.json = parse_json(read_element(text_)),
                  .where = fmt::format("{}, element {}", text_.name(), number_)};
}

}  // namespace freelunch::text
