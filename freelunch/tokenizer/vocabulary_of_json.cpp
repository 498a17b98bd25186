#include "freelunch/tokenizer/vocabulary_of_json.h"

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/tokenizer/byte_alphabet.h"
#include "freelunch/tokenizer/pre_tokenizer_family.h"
#include "freelunch/tokenizer/scored_vocabulary.h"
#include "freelunch/tokenizer/token_type.h"
#include "freelunch/tokenizer/tokenizer_json.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

void read_added(const json& root, GgufVocabulary& v, std::string_view file) {
  for (const json& added : root.value("added_tokens", json::array())) {
    put_added_token(v, added.at("id").get<int64_t>(), added.at("content").get<std::string>(),
                    added.value("special", false) ? kControl : kUserDefined, file);
  }
}

void read_merges(const json& model, GgufVocabulary& v) {
  for (const json& merge : model.at("merges")) {
    v.merges.push_back(merge.is_array()
                           ? merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>()
                           : merge.get<std::string>());
  }
}

/// Reads a byte-level BPE model.
void read_byte_level(const json& root, const std::string& pre, GgufVocabulary& v, std::string_view file) {
  v.model = "gpt2";
  v.pre = pre;
  for (const auto& [text, id] : root.at("model").at("vocab").items())
    put_token(v, id.get<int64_t>(), text, kNormal, file);
  read_added(root, v, file);
  read_merges(root.at("model"), v);
}

void set_unknown(GgufVocabulary& v, TokenId id) {
  v.unk = id;
  v.token_types.at(static_cast<size_t>(id)) = kUnknown;
}

/// Reads a BPE model of SentencePiece: characters with byte fallback.
void read_scored_bpe(const json& root, GgufVocabulary& v, std::string_view file) {
  v.model = "llama";
  const json& model = root.at("model");
  const bool bytes = model.value("byte_fallback", false);
  for (const auto& [text, id] : model.at("vocab").items())
    put_token(v, id.get<int64_t>(), text, bytes && byte_of_token(text) ? kByte : kNormal, file);
  read_added(root, v, file);
  const json unknown = model.value("unk_token", json());
  if (unknown.is_string()) set_unknown(v, model.at("vocab").at(unknown.get<std::string>()).get<TokenId>());
  read_merges(model, v);
  set_scores_from_merges(v, file);
  v.merges.clear();
}

/// Reads a unigram model of SentencePiece, whose scores are in the file.
void read_unigram(const json& root, GgufVocabulary& v, std::string_view file) {
  v.model = "t5";
  const json& model = root.at("model");
  const bool bytes = model.value("byte_fallback", false);
  v.scores.assign(v.tokens.size(), 0.0F);
  size_t id = 0;
  for (const json& entry : model.at("vocab")) {
    const auto text = entry.at(0).get<std::string>();
    put_token(v, static_cast<int64_t>(id), text, bytes && byte_of_token(text) ? kByte : kNormal, file);
    v.scores[id++] = entry.at(1).get<float>();
  }
  read_added(root, v, file);
  if (const json unknown = model.value("unk_id", json()); unknown.is_number())
    set_unknown(v, unknown.get<TokenId>());
}

/// Fills the vocabulary in the form that fits the tokenizer's parts. Returns false if GGUF has no such form.
bool read_tokens(const json& root, GgufVocabulary& v, std::string_view file) {
  const auto entry = [&](const char* key) { return root.contains(key) ? root[key] : json(); };
  const std::string type = root.at("model").value("type", "BPE");
  if (const auto spaces = sentencepiece_spaces(entry("normalizer"), entry("pre_tokenizer"))) {
    v.pre = "default";
    v.add_space_prefix = spaces->prefix;
    v.remove_extra_whitespaces = spaces->remove_extra;
    type == "Unigram" ? read_unigram(root, v, file) : read_scored_bpe(root, v, file);
    return true;
  }
  const auto pre = pre_tokenizer_name(entry("pre_tokenizer"), entry("normalizer"),
                                      root.at("model").value("ignore_merges", false));
  if (!pre || type != "BPE" || root.at("model").value("byte_fallback", false)) return false;
  read_byte_level(root, *pre, v, file);
  return true;
}

/// The id of "bos_token" and similar entries: a string, or an object with a string "content".
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

void set_specials(GgufVocabulary& v, const json& config, const Tokenizer& tokenizer) {
  v.bos = special_id(config, "bos_token", v);
  v.eos = special_id(config, "eos_token", v);
  if (!v.unk) v.unk = special_id(config, "unk_token", v);
  v.pad = special_id(config, "pad_token", v);
  v.add_bos = tokenizer.adds_bos();
  if (*v.add_bos) v.bos = tokenizer.bos();
  const std::vector<TokenId> nothing = tokenizer.encode("", true);
  v.add_eos = nothing.size() > (*v.add_bos ? 1U : 0U);
  if (*v.add_eos) v.eos = nothing.back();
}

GgufVocabulary vocabulary_of_tokenizer_json(const json& root, const json& config, int64_t size,
                                            std::string_view file) {
  // refuses broken files, and knows whether the template adds BOS and EOS
  const std::unique_ptr<Tokenizer> tokenizer = tokenizer_from_json(root, file);
  try {
    GgufVocabulary v = empty_vocabulary(size);
    if (!read_tokens(root, v, file)) {
      fail(ErrorKind::kUnsupported,
           "{}: GGUF names pre-tokenizers instead of holding them, and has no name for this one", file);
    }
    set_specials(v, config, *tokenizer);
    return v;
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not a valid tokenizer.json ({})", file, error.what());
  }
}

}  // namespace freelunch::tokenizer
