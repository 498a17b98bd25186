#include "tokenizer/vocabulary_of_json.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tokenizer/tokenizer_json.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

enum TokenType : int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

void put_token(GgufVocabulary& v, const json& id, const std::string& text, int32_t type,
               std::string_view file) {
  const auto at = id.get<int64_t>();
  if (at < 0 || at >= static_cast<int64_t>(v.tokens.size())) {
    fail(ErrorKind::kBadFile, "{}: token '{}' has id {}, but the embedding has {} rows", file, text, at,
         v.tokens.size());
  }
  v.tokens[static_cast<size_t>(at)] = text;
  v.token_types[static_cast<size_t>(at)] = type;
}

void read_tokens(const json& root, GgufVocabulary& v, int64_t size, std::string_view file) {
  for (int64_t id = 0; id < size; ++id) v.tokens.push_back("[PAD" + std::to_string(id) + "]");
  v.token_types.assign(static_cast<size_t>(size), kUnused);
  for (const auto& [text, id] : root.at("model").at("vocab").items()) put_token(v, id, text, kNormal, file);
  for (const json& added : root.value("added_tokens", json::array())) {
    put_token(v, added.at("id"), added.at("content").get<std::string>(),
              added.value("special", false) ? kControl : kUserDefined, file);
  }
  for (const json& merge : root.at("model").at("merges")) {
    v.merges.push_back(merge.is_array()
                           ? merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>()
                           : merge.get<std::string>());
  }
}

/// The id of "bos_token" and its like: a string, or an object that holds one as "content".
std::optional<TokenId> special_id(const json& config, const char* key, const GgufVocabulary& v) {
  const auto it = config.find(key);
  if (it == config.end() || it->is_null()) return std::nullopt;
  const json& text = it->is_object() ? it->at("content") : *it;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (text.is_string() && v.tokens[id] == text.get_ref<const std::string&>() &&
        v.token_types[id] != kUnused)
      return static_cast<TokenId>(id);
  }
  return std::nullopt;
}

}  // namespace

GgufVocabulary vocabulary_of_tokenizer_json(std::string_view text, const json& config, int64_t size,
                                            std::string_view file) {
  // Refuses what is broken, and knows what its template puts around a text.
  const std::unique_ptr<Tokenizer> tokenizer = from_tokenizer_json(text, file);
  try {
    const json root = json::parse(text);
    const auto entry = [&](const char* key) { return root.contains(key) ? root[key] : json(); };
    const auto pre = pre_tokenizer_name(entry("pre_tokenizer"), entry("normalizer"),
                                        root.at("model").value("ignore_merges", false));
    if (!pre || root.at("model").value("byte_fallback", false)) {
      fail(ErrorKind::kUnsupported,
           "{}: GGUF names pre-tokenizers instead of holding them, and has no name for this one", file);
    }
    GgufVocabulary v;
    v.model = "gpt2";
    v.pre = *pre;
    read_tokens(root, v, size, file);
    v.bos = special_id(config, "bos_token", v);
    v.eos = special_id(config, "eos_token", v);
    v.unk = special_id(config, "unk_token", v);
    v.pad = special_id(config, "pad_token", v);
    v.add_bos = tokenizer->adds_bos();
    if (*v.add_bos) v.bos = tokenizer->bos();
    const std::vector<TokenId> nothing = tokenizer->encode("", true);
    v.add_eos = nothing.size() > (*v.add_bos ? 1U : 0U);
    if (*v.add_eos) v.eos = nothing.back();
    return v;
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not a valid tokenizer.json ({})", file, error.what());
  }
}

}  // namespace freelunch::tokenizer
