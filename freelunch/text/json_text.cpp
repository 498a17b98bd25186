#include "freelunch/text/json_text.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "freelunch/base/error.h"

namespace freelunch::text {
namespace {

using nlohmann::json;

constexpr std::string_view kHalfPair = "\xEF\xB7\x90";  // U+FDD0, which is never a character

bool is_hex(char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0; }

/// The UTF-16 unit of "\uXXXX" at a position, or 0.
unsigned unit_at(std::string_view text, size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return 0;
  for (size_t i = at + 2; i < at + 6; ++i) {
    if (!is_hex(text[i])) return 0;
  }
  return static_cast<unsigned>(std::strtoul(std::string(text.substr(at + 2, 4)).c_str(), nullptr, 16));
}

/// The text with what only Python reads replaced by what every parser reads, of the same length where an
/// error would be counted from.
class Rewriter {
 public:
  explicit Rewriter(std::string_view text) : text_(text) {}

  std::string rewrite() {
    while (at_ < text_.size()) {
      if (in_string_)
        in_string();
      else
        outside();
    }
    return std::move(out_);
  }
  bool has_half_pair() const { return has_half_pair_; }

 private:
  void copy(size_t n) {
    out_ += text_.substr(at_, n);
    at_ += n;
  }
  void replace(size_t n, std::string_view by) {
    out_ += by;
    at_ += n;
  }

  void in_string() {
    if (text_[at_] == '"') in_string_ = false;
    if (text_[at_] != '\\') return copy(1);
    const unsigned unit = unit_at(text_, at_);
    if (unit < 0xD800 || unit > 0xDFFF) return copy(2);
    const unsigned next = unit_at(text_, at_ + 6);
    if (unit < 0xDC00 && next >= 0xDC00 && next <= 0xDFFF) return copy(12);
    has_half_pair_ = true;
    replace(6, kHalfPair);
  }

  void outside() {
    const std::string_view left = text_.substr(at_);
    for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
      if (left.starts_with(word)) return replace(word.size(), "null");
    }
    const char c = text_[at_];
    if (c != '-' && (c < '0' || c > '9')) {
      if (c == '"') in_string_ = true;
      return copy(1);
    }
    const size_t length = std::min(left.find_first_not_of("+-.0123456789eE"), left.size());
    const std::string number(left.substr(0, length));
    const double value = std::strtod(number.c_str(), nullptr);
    const bool valid = json::accept(number);
    if (!valid && (value > 1e308 || value < -1e308)) return replace(length, "null");
    copy(length);
  }

  std::string_view text_;
  std::string out_;
  size_t at_ = 0;
  bool in_string_ = false;
  bool has_half_pair_ = false;
};

/// What a parser's exception says, without its own prefix.
std::string fault_of(const json::exception& error) {
  const std::string_view what = error.what();
  const size_t column = what.find("column ");
  return std::string(column == std::string_view::npos ? what.substr(what.find(']') + 2)
                                                      : what.substr(column));
}

}  // namespace

bool PythonJson::is_broken(const std::string& string) const {
  return has_half_pair && string.find(kHalfPair) != std::string::npos;
}

PythonJson parse_json(std::string_view text) {
  PythonJson result;
  result.value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!result.value.is_discarded()) return result;
  Rewriter rewriter(text);
  try {
    result.value = json::parse(rewriter.rewrite());
    result.has_half_pair = rewriter.has_half_pair();
  } catch (const json::exception& error) {
    result.value = json();
    result.fault = fault_of(error);
  }
  return result;
}

std::string_view type_of(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "a list";
    case json::value_t::string:
      return "a string";
    case json::value_t::boolean:
      return "true or false";
    default:
      return "a number";
  }
}

std::string fields_of(const json& object) {
  constexpr size_t kMost = 20;
  std::string names;
  size_t count = 0;
  for (const auto& [name, value] : object.items()) {
    if (++count > kMost) return names + ", ...";
    names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "none" : names;
}

}  // namespace freelunch::text
