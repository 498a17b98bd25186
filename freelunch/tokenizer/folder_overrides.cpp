#include "freelunch/tokenizer/folder_overrides.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "freelunch/base/error.h"
#include "freelunch/tokenizer/post_processor.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

constexpr const char* kConfig = "tokenizer_config.json";
constexpr std::array kNamed{"bos_token", "eos_token", "unk_token", "sep_token",
                            "pad_token", "cls_token", "mask_token"};

/// An added token in the form of tokenizer.json, without its id. Absent flags have the defaults of
/// tokenizers.
json added_token(const json& entry) {
  json token{{"content", entry.at("content").get<std::string>()}};
  for (const char* flag : {"special", "lstrip", "rstrip", "single_word"})
    token[flag] = entry.value(flag, false);
  token["normalized"] = entry.value("normalized", !token["special"].get<bool>());
  return token;
}

json special_token(const json& entry) {
  json token = added_token(entry.is_string() ? json{{"content", entry}, {"special", true}} : entry);
  token["special"] = true;
  return token;
}

/// Adds tokens to tokenizer.json as `add_tokens` of tokenizers does.
class AddedTokenList {
 public:
  explicit AddedTokenList(json& root) : root_(root) {
    if (!root_.contains("added_tokens") || !root_["added_tokens"].is_array())
      root_["added_tokens"] = json::array();
    for (size_t i = 0; i < list().size(); ++i) {
      const json& entry = list()[i];
      places_[entry.at("content").get<std::string>()] = i;
      next_id_ = std::max(next_id_, checked_id(entry.at("id"), "tokenizer.json", "added_tokens") + 1);
    }
  }

  const json& list() const { return root_["added_tokens"]; }
  bool has(const json& token) const { return places_.contains(token["content"].get<std::string>()); }

  /// Adds a token, or replaces the flags of the one with the same content.
  void put(json token) {
    const auto content = token["content"].get<std::string>();
    if (content.empty()) return;
    if (const auto it = places_.find(content); it != places_.end()) {
      root_["added_tokens"][it->second].update(token);
      return;
    }
    token["id"] = id_of(content);
    next_id_ = std::max(next_id_, token["id"].get<TokenId>() + 1);
    places_[content] = list().size();
    root_["added_tokens"].push_back(std::move(token));
  }

 private:
  /// The id in the model's vocabulary, or the next one that is free.
  TokenId id_of(const std::string& content) const {
    const json& vocabulary = root_.at("model").at("vocab");
    if (vocabulary.is_object() && vocabulary.contains(content))
      return checked_id(vocabulary[content], "tokenizer.json", content);
    if (vocabulary.is_array()) {
      for (size_t id = 0; id < vocabulary.size(); ++id)
        if (vocabulary[id].at(0) == content) return static_cast<TokenId>(id);
    }
    return std::max(next_id_, static_cast<TokenId>(std::min<size_t>(vocabulary.size(), kMaxTokenId)));
  }

  json& root_;
  std::unordered_map<std::string, size_t> places_;  // content -> index in the list
  TokenId next_id_ = 0;
};

/// The special tokens that the configuration names, in the order in which transformers adds them.
std::vector<json> special_tokens(const json& config) {
  std::vector<json> tokens;
  const auto put = [&](const json& entry) {
    if (entry.is_string() || (entry.is_object() && entry.contains("content")))
      tokens.push_back(special_token(entry));
  };
  for (const char* key : kNamed) put(config.value(key, json()));
  for (const auto& [key, value] : config.items()) {
    const bool own = std::find(kNamed.begin(), kNamed.end(), key) == kNamed.end();
    if (own && key.ends_with("_token") && value.is_string()) put(value);
  }
  json extra = config.value("extra_special_tokens", json());
  if (extra.empty()) extra = config.value("additional_special_tokens", json());
  if (extra.is_structured()) {
    for (const json& entry : extra) put(entry);
  }
  return tokens;
}

/// The tokens that the files list by id.
std::map<TokenId, json> listed_tokens(const json& config, const json& added_tokens_json,
                                      const std::vector<json>& specials, const AddedTokenList& added) {
  std::map<TokenId, json> listed;
  if (config.contains("added_tokens_decoder")) {
    for (const auto& [key, entry] : config["added_tokens_decoder"].items())
      listed[checked_id(json::parse(key, nullptr, false), kConfig, key)] = added_token(entry);
    return listed;
  }
  for (const auto& entry : added_tokens_json.items()) {
    const std::string& content = entry.key();
    const bool special = std::any_of(specials.begin(), specials.end(),
                                     [&](const json& token) { return token["content"] == content; });
    listed[checked_id(entry.value(), "added_tokens.json", content)] =
        added_token({{"content", content}, {"special", special}});
  }
  for (const json& entry : added.list())
    listed[checked_id(entry.at("id"), "tokenizer.json", "added_tokens")] = added_token(entry);
  return listed;
}

/// Their classes in transformers ignore what tokenizer.json says of a space in front of the text.
void set_prefix_space(json& root, const json& config) {
  const json named = config.value("tokenizer_class", json());
  std::string name = named.is_string() ? named.get<std::string>() : "";
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  constexpr std::array<std::string_view, 4> kOwn{"GPT2Tokenizer", "GPTNeoXTokenizer", "CodeGenTokenizer",
                                                 "Qwen2Tokenizer"};
  if (std::find(kOwn.begin(), kOwn.end(), name) == kOwn.end()) return;
  const json prefix = config.value("add_prefix_space", json());
  const auto set = [&](json& part) {
    if (part.is_object() && part.value("type", json()) == "ByteLevel")
      part["add_prefix_space"] = prefix.is_boolean() && prefix.get<bool>();
  };
  if (!root.contains("pre_tokenizer") || !root["pre_tokenizer"].is_object()) return;
  json& pre_tokenizer = root["pre_tokenizer"];
  set(pre_tokenizer);
  if (pre_tokenizer.contains("pretokenizers")) {
    for (json& part : pre_tokenizer["pretokenizers"]) set(part);
  }
}

}  // namespace

void apply_folder_overrides(json& root, const json& config, const json& added_tokens_json) {
  if (!root.is_object() || !root.contains("model")) return;  // its reader says what is wrong
  const json split = config.value("split_special_tokens", json());
  if (split.is_boolean() && split.get<bool>())
    fail(ErrorKind::kUnsupported, "{}: split_special_tokens is not supported", kConfig);
  set_prefix_space(root, config);
  AddedTokenList added(root);
  const std::vector<json> specials = special_tokens(config);
  for (const auto& [id, token] : listed_tokens(config, added_tokens_json, specials, added)) added.put(token);
  for (const json& token : specials) {
    if (!added.has(token)) added.put(token);
  }
}

}  // namespace freelunch::tokenizer
