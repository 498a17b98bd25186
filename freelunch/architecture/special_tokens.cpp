#include "freelunch/architecture/special_tokens.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <variant>

#include "freelunch/base/error.h"
#include "freelunch/base/json_nesting.h"

namespace freelunch::model {
namespace {

using checkpoint::GgufMetadata;
using checkpoint::GgufValue;
using nlohmann::json;

std::string text_of(const GgufValue& value) {
  if (const auto* id = std::get_if<uint64_t>(&value.data)) return std::to_string(*id);
  if (const auto* id = std::get_if<int64_t>(&value.data)) return std::to_string(*id);
  return value.type;
}

}  // namespace

std::vector<int64_t> end_tokens_of(std::string_view text, const std::string& file) {
  refuse_deep_nesting(text, file);
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) fail(ErrorKind::kBadFile, "{}: not a JSON object", file);
  std::vector<int64_t> ids;
  const auto it = object.find("eos_token_id");
  if (it == object.end()) return ids;
  for (const json& id : it->is_array() ? *it : json::array({*it})) {
    if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
  }
  return ids;
}

std::vector<int64_t> end_tokens_of(const GgufMetadata& metadata, int64_t vocabulary) {
  std::vector<int64_t> ids;
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const auto id = special_token(metadata, key, vocabulary);
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
  }
  return ids;
}

std::optional<int64_t> special_token(const GgufMetadata& metadata, std::string_view key, int64_t vocabulary) {
  const GgufValue* value = metadata.find(key);
  if (value == nullptr) return std::nullopt;
  int64_t id = -1;
  if (const auto* u = std::get_if<uint64_t>(&value->data))
    id = *u < INT64_MAX ? static_cast<int64_t>(*u) : -1;
  if (const auto* i = std::get_if<int64_t>(&value->data)) id = *i;
  return id >= 0 && id < vocabulary ? std::optional(id) : std::nullopt;
}

std::vector<std::string> unusable_special_tokens(const GgufMetadata& metadata, int64_t vocabulary) {
  std::vector<std::string> lines;
  for (const std::string& key : metadata.keys()) {
    if (!key.starts_with("tokenizer.ggml.") || !key.ends_with("_token_id")) continue;
    if (special_token(metadata, key, vocabulary)) continue;
    lines.push_back(fmt::format("{} is {}, which no token of {} has: ignored", key,
                                text_of(*metadata.find(key)), vocabulary));
  }
  return lines;
}

}  // namespace freelunch::model
