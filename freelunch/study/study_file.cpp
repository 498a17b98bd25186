#include "study/study_file.h"

#include <toml++/toml.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"
#include "base/json_nesting.h"

namespace freelunch::study {
namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail(ErrorKind::kBadFile, "cannot open study '{}': {}", path.string(), system_error_text());
  std::ostringstream text;
  text << stream.rdbuf();
  std::string content = text.str();
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);  // a byte order mark says nothing in UTF-8
  return content;
}

/// Refuses characters beyond ASCII outside strings and comments. TOML has none there, and toml++ 3.3 runs
/// into undefined behaviour over them (is_non_ascii_horizontal_whitespace).
void refuse_bare_characters(std::string_view text, const std::string& file) {
  int line = 1;
  std::string_view closing;  // of the string we are in; a newline for a comment
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (!closing.empty()) {
      if (c == '\\' && closing[0] == '"') {
        ++i;
      } else if (text.substr(i).starts_with(closing) || (c == '\n' && closing.size() == 1)) {
        i += closing.size() - 1;
        // up to two quotes before the closing three belong to the string
        for (int more = 0; closing.size() == 3 && more < 2 && text.substr(i + 1).starts_with(closing[0]);
             ++more)
          ++i;
        closing = {};
      }
    } else if (c == '#') {
      closing = "\n";
    } else if (c == '"' || c == '\'') {
      const std::string_view three = c == '"' ? R"(""")" : "'''";
      closing = text.substr(i).starts_with(three) ? three : three.substr(0, 1);
      i += closing.size() - 1;
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      fail(ErrorKind::kBadFile, "{}: line {}: a character beyond ASCII stands outside quotes", file, line);
    }
  }
}

}  // namespace

nlohmann::json read_study_file(const std::filesystem::path& path) {
  const std::string content = read_text(path);
  const std::string file = path.filename().string();
  try {
    if (path.extension() == ".json") {
      refuse_deep_nesting(content, file);
      return nlohmann::json::parse(content);
    }
    if (path.extension() == ".toml") {
      refuse_bare_characters(content, file);
      std::ostringstream text;
      text << toml::json_formatter{toml::parse(content, file)};
      return nlohmann::json::parse(text.str());
    }
  } catch (const toml::parse_error& error) {
    fail(ErrorKind::kBadFile, "{}: line {}: {}", file, error.source().begin.line, error.description());
  } catch (const nlohmann::json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not valid JSON ({})", file, error.what());
  }
  fail(ErrorKind::kInvalidArgument, "study '{}' is neither .toml nor .json", file);
}

}  // namespace freelunch::study
