#include "freelunch/study/study_file.h"

#include <toml++/toml.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <sstream>

#include "freelunch/base/error.h"
#include "freelunch/base/json_nesting.h"
#include "freelunch/base/utf8.h"
#include "freelunch/text/text_stream.h"

namespace freelunch::study {
namespace {

/// The first of "<0>", "<1>", ... that does not occur in the text.
std::string unused_mark(std::string_view text) {
  for (int i = 0;; ++i) {
    std::string mark = fmt::format("<{}>", i);
    if (text.find(mark) == std::string_view::npos) return mark;
  }
}

/// Replaces all characters beyond ASCII, because toml++ 3.3 has undefined behaviour on those that TOML does
/// not allow (is_non_ascii_horizontal_whitespace), and only a parser could tell where they are allowed. In
/// strings they become the mark and eight hexadecimal digits, in comments question marks. Throws BadFile for
/// one anywhere else, and for invalid UTF-8.
std::string in_ascii(std::string_view text, const std::string& mark, const std::string& file) {
  if (!is_valid_utf8(text)) fail(ErrorKind::kBadFile, "{}: not valid UTF-8", file);
  std::string out;
  int line = 1;
  std::string_view closing;  // what ends the string or comment around position i; empty outside of both
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (static_cast<unsigned char>(c) >= 0x80) {
      const CodePoint point = code_point_at(text, i);
      if (closing.empty())
        fail(ErrorKind::kBadFile, "{}: line {}: a character beyond ASCII stands outside quotes", file, line);
      out += closing == "\n" ? "?" : fmt::format("{}{:08X}", mark, static_cast<uint32_t>(point.value));
      i += point.length;
      continue;
    }
    if (c == '\n') ++line;
    size_t taken = 1;
    if (closing.empty()) {
      if (c == '#') closing = "\n";
      if (c == '"' || c == '\'') {
        const std::string_view three = c == '"' ? R"(""")" : "'''";
        closing = text.substr(i).starts_with(three) ? three : three.substr(0, 1);
        taken = closing.size();
      }
    } else if (c == '\\' && closing[0] == '"' && i + 1 < text.size() &&
               static_cast<unsigned char>(text[i + 1]) < 0x80) {
      taken = 2;
    } else if (text.substr(i).starts_with(closing) || (c == '\n' && closing.size() == 1)) {
      taken = c == '\n' ? 1 : closing.size();
      // up to two more quotes: then the last three close the string, and the others belong to it
      for (int more = 0; closing.size() == 3 && more < 2 && text.substr(i + taken).starts_with(closing[0]);
           ++more)
        ++taken;
      closing = {};
    }
    out += text.substr(i, taken);
    i += taken;
  }
  return out;
}

/// Puts the characters back that in_ascii replaced by marks.
std::string without_marks(std::string_view text, std::string_view mark) {
  std::string out;
  size_t from = 0;
  for (size_t at = text.find(mark); at != std::string_view::npos; at = text.find(mark, from)) {
    out += text.substr(from, at - from);
    const std::string_view digits = text.substr(at + mark.size(), 8);
    uint32_t point = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), point, 16);
    from = at + mark.size();
    if (error == std::errc() && end == digits.data() + 8 && point < 0x110000) {
      append_utf8(out, point);
      from += 8;
    } else {
      out += mark;  // written as escapes in the file, so not from in_ascii
    }
  }
  return out += text.substr(from);
}

}  // namespace

nlohmann::json read_study_file(const std::filesystem::path& path) {
  const std::string content = text::TextStream(path).rest();
  const std::string file = path.filename().string();
  try {
    if (path.extension() == ".json") {
      refuse_deep_nesting(content, file);
      return nlohmann::json::parse(content);
    }
    if (path.extension() == ".toml") {
      const std::string mark = unused_mark(content);
      std::ostringstream text;
      text << toml::json_formatter{toml::parse(in_ascii(content, mark, file), file)};
      return nlohmann::json::parse(without_marks(text.str(), mark));
    }
  } catch (const toml::parse_error& error) {
    fail(ErrorKind::kBadFile, "{}: line {}: {}", file, error.source().begin.line, error.description());
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not valid JSON ({})", file, error.what());
  }
  fail(ErrorKind::kInvalidArgument, "study '{}' is neither .toml nor .json", file);
}

}  // namespace freelunch::study
