#include "freelunch/architecture/ignored_keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "freelunch/architecture/hf_config.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using nlohmann::json;

/// Values of every JSON type. Code that reads a key refuses or uses at least one of them.
const std::vector<json>& strange_values() {
  static const std::vector<json> values{json::object(), json::array(), json::array({7}), "?", -7, 0.5,
                                        true,           false,         nullptr};
  return values;
}

class Search {
 public:
  Search(json config, std::string file) : config_(std::move(config)), file_(std::move(file)) {
    plain_ = config_from_hugging_face(config_, file_);
  }

  std::vector<std::string> run() {
    visit(config_, "");
    return std::move(ignored_);
  }

 private:
  /// Whether the configuration, with what was changed in it, is read as before.
  bool reads_the_same() const {
    try {
      return config_from_hugging_face(config_, file_) == plain_;
    } catch (const Error&) {
      return false;
    }
  }

  bool is_ignored(json& object, const std::string& key) const {
    const json value = object[key];
    object.erase(key);
    bool same = reads_the_same();
    for (size_t i = 0; same && i < strange_values().size(); ++i) {
      object[key] = strange_values()[i];
      same = reads_the_same();
    }
    object[key] = value;
    return same;
  }

  void visit(json& object, const std::string& prefix) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : object.items()) keys.push_back(key);
    for (const std::string& key : keys) {
      if (is_ignored(object, key)) {
        ignored_.push_back(prefix + key);
      } else if (object[key].is_object()) {
        visit(object[key], prefix + key + ".");
      }
    }
  }

  json config_;
  std::string file_;
  Config plain_;
  std::vector<std::string> ignored_;
};

}  // namespace

std::vector<std::string> ignored_keys(std::string_view text, const std::string& file) {
  parse_config(text, file);  // refuses what is no JSON or nested too deeply
  return Search(json::parse(text), file).run();
}

}  // namespace freelunch::model
