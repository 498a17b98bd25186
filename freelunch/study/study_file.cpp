#include "study/study_file.h"

#include <toml++/toml.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"

namespace freelunch::study {

nlohmann::json read_study_file(const std::filesystem::path& path) {
  std::ifstream stream(path);
  if (!stream) fail(ErrorKind::kBadFile, "cannot open study '{}': {}", path.string(), system_error_text());
  const std::string file = path.filename().string();
  try {
    if (path.extension() == ".json") return nlohmann::json::parse(stream);
    if (path.extension() == ".toml") {
      std::ostringstream text;
      text << toml::json_formatter{toml::parse(stream, file)};
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
