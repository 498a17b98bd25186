#include "freelunch/tokenizer/tokenizer_json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "freelunch/base/error.h"
#include "freelunch/base/json_nesting.h"
#include "freelunch/tokenizer/byte_alphabet.h"
#include "freelunch/tokenizer/post_processor.h"
#include "freelunch/tokenizer/text_tokenizer.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

/// Token texts by id, and the ids of the model's own vocabulary by text.
struct Vocabulary {
  std::vector<std::string> texts;
  std::unordered_map<std::string, TokenId> ids;

  void put(TokenId id, const std::string& text, std::string_view file) {
    const auto i = static_cast<size_t>(id);
    if (i >= texts.size()) texts.resize(i + 1);
    if (!texts[i].empty() && texts[i] != text)
      fail(ErrorKind::kBadFile, "{}: id {} is given to both '{}' and '{}'", file, id, texts[i], text);
    texts[i] = text;
  }
};

/// Whether a setting is on; absent and null mean off.
bool is_on(const json& entry, const char* key) {
  return entry.contains(key) && !entry[key].is_null() && entry[key].get<bool>();
}

void read_vocabulary(const json& model, Vocabulary& vocabulary, std::string_view file) {
  if (!model.at("vocab").is_object()) fail(ErrorKind::kBadFile, "{}: model.vocab is not an object", file);
  for (const auto& [text, id] : model["vocab"].items()) {
    const TokenId checked = checked_id(id, file, text);
    vocabulary.put(checked, text, file);
    vocabulary.ids.emplace(text, checked);
  }
}

std::vector<Bpe::Merge> read_merges(const json& model, const Vocabulary& vocabulary, std::string_view file) {
  const auto id_of = [&](const std::string& text, const std::string& merge) {
    const auto it = vocabulary.ids.find(text);
    if (it == vocabulary.ids.end())
      fail(ErrorKind::kBadFile, "{}: merge '{}' names '{}', which is no token", file, merge, text);
    return it->second;
  };
  std::vector<Bpe::Merge> merges;
  for (const json& entry : model.at("merges")) {
    std::string left;
    std::string right;
    if (entry.is_array() && entry.size() == 2) {
      left = entry[0].get<std::string>();
      right = entry[1].get<std::string>();
    } else {
      const auto text = entry.get<std::string>();
      const size_t space = text.find(' ');
      if (space == std::string::npos)
        fail(ErrorKind::kBadFile, "{}: merge '{}' is not two tokens", file, text);
      left = text.substr(0, space);
      right = text.substr(space + 1);
    }
    const std::string merge = left + " " + right;
    merges.push_back({id_of(left, merge), id_of(right, merge), id_of(left + right, merge)});
  }
  return merges;
}

Bpe read_bpe(const json& model, Vocabulary& vocabulary, bool byte_level, std::string_view file) {
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.contains(key) && model[key].is_string() && !model[key].get<std::string>().empty()) {
      fail(ErrorKind::kUnsupported, "{}: model.{} '{}' is not supported", file, key,
           model[key].get<std::string>());
    }
  }
  if (model.contains("dropout") && model["dropout"].is_number() && model["dropout"].get<double>() > 0) {
    fail(ErrorKind::kUnsupported, "{}: BPE dropout is not supported", file);
  }
  Bpe::Options options{.unit = byte_level ? Bpe::Unit::kByte : Bpe::Unit::kCharacter,
                       .ignore_merges = is_on(model, "ignore_merges"),
                       .byte_fallback = is_on(model, "byte_fallback"),
                       .fuse_unknown = is_on(model, "fuse_unk")};
  read_vocabulary(model, vocabulary, file);
  if (model.contains("unk_token") && model["unk_token"].is_string()) {
    const auto it = vocabulary.ids.find(model["unk_token"].get<std::string>());
    if (it != vocabulary.ids.end()) {
      options.unknown = it->second;
    } else if (!byte_level) {  // where every byte is a token nothing is unknown
      fail(ErrorKind::kBadFile, "{}: model.unk_token {} is no token", file, model["unk_token"].dump());
    }
  }
  const std::vector<Bpe::Merge> merges = read_merges(model, vocabulary, file);
  std::vector<std::string> texts(vocabulary.texts.size());
  for (const auto& [text, id] : vocabulary.ids)
    texts[static_cast<size_t>(id)] = byte_level ? bytes_of_token(text).value_or("") : text;
  return {std::move(texts), merges, options};
}

Unigram read_unigram(const json& model, Vocabulary& vocabulary, std::string_view file) {
  if (!model.at("vocab").is_array()) fail(ErrorKind::kBadFile, "{}: model.vocab is not a list", file);
  if (model["vocab"].size() > kMaxTokenId)
    fail(ErrorKind::kBadFile, "{}: model.vocab has {} tokens", file, model["vocab"].size());
  std::vector<Unigram::Piece> pieces;
  for (const json& entry : model["vocab"]) {
    pieces.push_back({entry.at(0).get<std::string>(), entry.at(1).get<double>()});
    if (!std::isfinite(pieces.back().score))
      fail(ErrorKind::kBadFile, "{}: token '{}' has no finite score", file, pieces.back().text);
    vocabulary.put(static_cast<TokenId>(pieces.size() - 1), pieces.back().text, file);
  }
  std::optional<TokenId> unknown;
  if (model.contains("unk_id") && !model["unk_id"].is_null()) {
    unknown = checked_id(model["unk_id"], file, "unk_id");
    if (static_cast<size_t>(*unknown) >= pieces.size())
      fail(ErrorKind::kBadFile, "{}: unk_id {} is not in a vocabulary of {}", file, *unknown, pieces.size());
  }
  return {pieces, unknown, is_on(model, "byte_fallback"), file};
}

std::variant<Bpe, Unigram> read_model(const json& model, Vocabulary& vocabulary, bool byte_level,
                                      std::string_view file) {
  const auto type = model.value("type", std::string("BPE"));
  if (type == "BPE") return read_bpe(model, vocabulary, byte_level, file);
  if (type != "Unigram") {
    fail(ErrorKind::kUnsupported,
         "{}: model type '{}' is not supported; this version handles BPE and Unigram", file, type);
  }
  if (byte_level) fail(ErrorKind::kUnsupported, "{}: Unigram over ByteLevel is not supported", file);
  return read_unigram(model, vocabulary, file);
}

std::vector<AddedToken> read_added(const json& list, Vocabulary& vocabulary, std::string_view file) {
  std::vector<AddedToken> added;
  for (const json& entry : list) {
    AddedToken token{.id = 0, .content = entry.at("content").get<std::string>()};
    token.id = checked_id(entry.at("id"), file, token.content);
    token.special = is_on(entry, "special");
    token.left_strip = is_on(entry, "lstrip");
    token.right_strip = is_on(entry, "rstrip");
    token.single_word = is_on(entry, "single_word");
    token.normalized = entry.value("normalized", !token.special);
    vocabulary.put(token.id, token.content, file);
    added.push_back(std::move(token));
  }
  return added;
}

TokenizerParts read_parts(const json& root, std::string_view file) {
  if (!root.is_object() || !root.contains("model")) fail(ErrorKind::kBadFile, "{}: has no 'model'", file);
  const auto entry = [&](const char* key) { return root.contains(key) ? root[key] : json(); };
  PreTokenizer pre_tokenizer = PreTokenizer::from_json(entry("pre_tokenizer"), file);
  Vocabulary vocabulary;
  auto model = read_model(root["model"], vocabulary, pre_tokenizer.byte_level(), file);
  TokenizerParts parts{.normalizer = Normalizer::from_json(entry("normalizer"), file),
                       .pre_tokenizer = std::move(pre_tokenizer),
                       .model = std::move(model),
                       .decoder = Decoder::from_json(entry("decoder"))};
  parts.added = read_added(entry("added_tokens"), vocabulary, file);
  Ends ends = ends_from_json(entry("post_processor"), file);
  for (const auto* side : {&ends.prefix, &ends.suffix}) {
    for (const TokenId id : *side) {
      if (static_cast<size_t>(id) >= vocabulary.texts.size())
        fail(ErrorKind::kBadFile, "{}: the template names id {}, which is no token", file, id);
    }
  }
  parts.prefix = std::move(ends.prefix);
  parts.suffix = std::move(ends.suffix);
  parts.texts = std::move(vocabulary.texts);
  return parts;
}

}  // namespace

std::unique_ptr<Tokenizer> tokenizer_from_json(const json& root, std::string_view file) {
  try {
    return std::make_unique<TextTokenizer>(read_parts(root, file));
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not a valid tokenizer.json ({})", file, error.what());
  }
}

json parse_json(std::string_view text, std::string_view file) {
  refuse_deep_nesting(text, file);
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not valid JSON ({})", file, error.what());
  }
}

std::unique_ptr<Tokenizer> from_tokenizer_json(std::string_view text, std::string_view file) {
  return tokenizer_from_json(parse_json(text, file), file);
}

}  // namespace freelunch::tokenizer
