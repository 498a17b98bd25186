#include <algorithm>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/read_file.h"
#include "freelunch/tokenizer/tokenizer_folder.h"
#include "freelunch/tokenizer/tokenizer_json.h"

namespace freelunch::tokenizer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kDefault = "default";

/// A template's text; CRLF and CR become LF, as in Python's text mode.
std::string read_template(const fs::path& path) {
  const std::string bytes = read_file(path);
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == '\r' && i + 1 < bytes.size() && bytes[i + 1] == '\n') continue;
    text += bytes[i] == '\r' ? '\n' : bytes[i];
  }
  return text;
}

std::vector<ChatTemplate> in_files(const fs::path& folder) {
  std::vector<ChatTemplate> found;
  if (fs::exists(folder / "chat_template.jinja"))
    found.push_back({.name = kDefault, .text = read_template(folder / "chat_template.jinja")});
  for (const char* more : {"additional_chat_templates", "chat_templates"}) {
    if (!fs::is_directory(folder / more)) continue;
    for (const auto& entry : fs::directory_iterator(folder / more)) {
      const std::string name = entry.path().stem().string();
      const bool known =
          std::any_of(found.begin(), found.end(), [&](const ChatTemplate& t) { return t.name == name; });
      if (entry.path().extension() == ".jinja" && !known)
        found.push_back({.name = name, .text = read_template(entry.path())});
    }
  }
  return found;
}

/// "chat_template" of a JSON file: a text, or a list of {"name", "template"}.
std::vector<ChatTemplate> in_json(const fs::path& file) {
  if (!fs::exists(file)) return {};
  const json config = parse_json(read_file(file), file.filename().string());
  const auto it = config.is_object() ? config.find("chat_template") : config.end();
  if (it == config.end()) return {};
  if (it->is_string()) return {{.name = kDefault, .text = it->get<std::string>()}};
  std::vector<ChatTemplate> found;
  if (!it->is_array()) return found;
  for (const json& entry : *it) {
    const auto text = [&](const char* key) {
      return entry.is_object() && entry.contains(key) && entry[key].is_string()
                 ? entry[key].get<std::string>()
                 : "";
    };
    if (!text("name").empty()) found.push_back({.name = text("name"), .text = text("template")});
  }
  return found;
}

}  // namespace

std::vector<ChatTemplate> chat_templates_of_folder(const fs::path& folder) {
  std::vector<ChatTemplate> found = in_files(folder);
  if (found.empty()) found = in_json(folder / "tokenizer_config.json");
  if (found.empty()) found = in_json(folder / "chat_template.json");  // of processors of images and text
  std::stable_sort(found.begin(), found.end(), [](const ChatTemplate& a, const ChatTemplate& b) {
    return std::pair(a.name != kDefault, a.name) < std::pair(b.name != kDefault, b.name);
  });
  return found;
}

}  // namespace freelunch::tokenizer
