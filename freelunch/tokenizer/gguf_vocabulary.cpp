#include "freelunch/tokenizer/gguf_vocabulary.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"
#include "freelunch/tokenizer/normalizer.h"
#include "freelunch/tokenizer/pre_tokenizer_family.h"
#include "freelunch/tokenizer/scored_merges.h"
#include "freelunch/tokenizer/token_type.h"
#include "freelunch/tokenizer/tokenizer_json.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

constexpr const char* kSpaceMark = "\u2581";

void check(const GgufVocabulary& v, std::string_view file) {
  if (v.model != "gpt2" && v.model != "llama" && v.model != "t5") {
    fail(ErrorKind::kUnsupported,
         "{}: tokenizer model '{}' is not supported; this version handles byte-level BPE ('gpt2') and "
         "SentencePiece ('llama', 't5')",
         file, v.model);
  }
  if (v.tokens.empty()) fail(ErrorKind::kBadFile, "{}: tokenizer.ggml.tokens is empty", file);
  if (v.model != "gpt2" && v.scores.size() != v.tokens.size())
    fail(ErrorKind::kBadFile, "{}: {} token scores for {} tokens", file, v.scores.size(), v.tokens.size());
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (!is_valid_utf8(v.tokens[id])) fail(ErrorKind::kBadFile, "{}: token {} is not valid UTF-8", file, id);
    if (id < v.scores.size() && !std::isfinite(v.scores[id]))
      fail(ErrorKind::kBadFile, "{}: token '{}' has no finite score", file, v.tokens[id]);
  }
  if (!v.token_types.empty() && v.token_types.size() != v.tokens.size()) {
    fail(ErrorKind::kBadFile, "{}: {} token types for {} tokens", file, v.token_types.size(),
         v.tokens.size());
  }
  for (const auto& [name, id] : {std::pair("bos", v.bos), std::pair("eos", v.eos),
                                 std::pair("unknown", v.unk), std::pair("padding", v.pad)}) {
    if (id && (*id < 0 || static_cast<size_t>(*id) >= v.tokens.size())) {
      fail(ErrorKind::kBadFile, "{}: the {} token has id {}, but there are {} tokens", file, name, *id,
           v.tokens.size());
    }
  }
}

int32_t type_of(const GgufVocabulary& v, size_t id) {
  return v.token_types.empty() ? static_cast<int32_t>(kNormal) : v.token_types[id];
}

/// The spelling of a token in the vocabulary. Converters write user-defined tokens of SentencePiece with
/// U+2581 or with spaces. These tokens are searched for in the raw text, so they are spelled with spaces
/// here.
std::string spelling(const GgufVocabulary& v, size_t id) {
  if (v.model == "gpt2" || type_of(v, id) != kUserDefined) return v.tokens[id];
  return replace_all(v.tokens[id], kSpaceMark, " ");
}

/// The template with BOS and EOS as the flags of the file say; null if neither is added.
json ends_template(const GgufVocabulary& v, bool add_bos, bool add_eos) {
  if (!add_bos && !add_eos) return nullptr;
  json single = json::array();
  json pair = json::array();
  json specials = json::object();
  const auto special = [&](TokenId id, int type_of_pair) {
    const std::string text = spelling(v, static_cast<size_t>(id));
    specials[text] = {{"id", text}, {"ids", {id}}, {"tokens", {text}}};
    if (type_of_pair == 0) single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    pair.push_back({{"SpecialToken", {{"id", text}, {"type_id", type_of_pair}}}});
  };
  if (add_bos) special(*v.bos, 0);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  pair.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (add_eos) special(*v.eos, 0);
  if (add_bos) special(*v.bos, 1);
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  if (add_eos) special(*v.eos, 1);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
}

json added_tokens(const GgufVocabulary& v) {
  json added = json::array();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const int32_t type = type_of(v, id);
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    added.push_back({{"id", id},
                     {"content", spelling(v, id)},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", type != kUserDefined}});
  }
  return added;
}

json vocabulary_object(const GgufVocabulary& v, std::string_view file) {
  json vocabulary = json::object();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    // byte-level files use these to fill the embedding; no text is encoded as one
    if (v.model == "gpt2" && type_of(v, id) == kUnused) continue;
    if (!vocabulary.emplace(spelling(v, id), id).second)
      fail(ErrorKind::kBadFile, "{}: token '{}' occurs twice in tokenizer.ggml.tokens", file, v.tokens[id]);
  }
  return vocabulary;
}

json bpe_model(json vocabulary, json merges, bool ignore_merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", ignore_merges},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

/// The tokenizer.json of model "gpt2": byte-level BPE.
void build_byte_level(const GgufVocabulary& v, std::string_view file, json& root) {
  const PreTokenizerFamily family = pre_tokenizer_family(v.pre, file);
  const json bytes{
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  const json ends =
      ends_template(v, v.add_bos.value_or(family.add_bos) && v.bos, v.add_eos.value_or(false) && v.eos);
  root["normalizer"] = family.normalizer;
  root["pre_tokenizer"] = family.pre_tokenizer;
  root["post_processor"] = ends.is_null() ? bytes : json{{"type", "Sequence"}, {"processors", {bytes, ends}}};
  root["decoder"] = {
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
  json merges = json::array();
  for (const std::string& merge : v.merges) merges.push_back(merge);
  root["model"] = bpe_model(vocabulary_object(v, file), std::move(merges), family.ignore_merges);
}

std::optional<TokenId> unknown_token(const GgufVocabulary& v) {
  if (v.unk) return v.unk;
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    if (type_of(v, id) == kUnknown) return static_cast<TokenId>(id);
  }
  return std::nullopt;
}

bool has_byte_tokens(const GgufVocabulary& v) {
  return std::find(v.token_types.begin(), v.token_types.end(), static_cast<int32_t>(kByte)) !=
         v.token_types.end();
}

json replace(json pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", std::move(pattern)}, {"content", content}};
}

/// The normalizer and decoder for the spaces of SentencePiece.
void build_spaces(const GgufVocabulary& v, json& root) {
  const bool prefix = v.add_space_prefix.value_or(true);
  json steps = json::array();
  if (v.remove_extra_whitespaces) {
    steps.push_back({{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}});
    steps.push_back(replace({{"Regex", " {2,}"}}, " "));
  }
  if (prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpaceMark}});
  steps.push_back(replace({{"String", " "}}, kSpaceMark));
  root["normalizer"] = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
  json decoders =
      json::array({replace({{"String", kSpaceMark}}, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  root["decoder"] = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};
}

/// The tokenizer.json of model "llama": SentencePiece BPE, as in Llama 2, Mistral, Phi-3 and Gemma.
void build_scored_bpe(const GgufVocabulary& v, std::string_view file, json& root) {
  std::vector<ScoredToken> tokens;
  for (size_t id = 0; id < v.tokens.size(); ++id)
    tokens.push_back({spelling(v, id), v.scores[id], type_of(v, id) == kNormal && !v.tokens[id].empty()});
  json merges = json::array();
  for (const auto& [left, right] : merges_from_scores(tokens)) merges.push_back({left, right});
  root["model"] = bpe_model(vocabulary_object(v, file), std::move(merges), false);
  root["model"]["fuse_unk"] = true;
  root["model"]["byte_fallback"] = has_byte_tokens(v);
  if (const auto unknown = unknown_token(v))
    root["model"]["unk_token"] = spelling(v, static_cast<size_t>(*unknown));
  build_spaces(v, root);
  root["post_processor"] =
      ends_template(v, v.add_bos.value_or(true) && v.bos, v.add_eos.value_or(false) && v.eos);
}

/// The tokenizer.json of model "t5": SentencePiece unigram.
void build_unigram(const GgufVocabulary& v, json& root) {
  json vocabulary = json::array();
  for (size_t id = 0; id < v.tokens.size(); ++id)
    vocabulary.push_back(json::array({spelling(v, id), v.scores[id]}));
  root["model"] = {{"type", "Unigram"},
                   {"unk_id", nullptr},
                   {"vocab", std::move(vocabulary)},
                   {"byte_fallback", has_byte_tokens(v)}};
  if (const auto unknown = unknown_token(v)) root["model"]["unk_id"] = *unknown;
  build_spaces(v, root);
  root["post_processor"] =
      ends_template(v, v.add_bos.value_or(false) && v.bos, v.add_eos.value_or(true) && v.eos);
}

json build(const GgufVocabulary& v, std::string_view file) {
  check(v, file);
  json root{{"version", "1.0"},      {"truncation", nullptr},
            {"padding", nullptr},    {"added_tokens", added_tokens(v)},
            {"normalizer", nullptr}, {"pre_tokenizer", nullptr}};
  if (v.model == "gpt2") {
    build_byte_level(v, file, root);
    return root;
  }
  if (v.has_charsmap) {
    fail(ErrorKind::kUnsupported,
         "{}: a SentencePiece vocabulary with tokenizer.ggml.precompiled_charsmap is not supported", file);
  }
  if (v.model == "llama") {
    build_scored_bpe(v, file, root);
  } else {
    build_unigram(v, root);
  }
  return root;
}

}  // namespace

GgufVocabulary empty_vocabulary(int64_t rows) {
  GgufVocabulary v;
  for (int64_t id = 0; id < rows; ++id) v.tokens.push_back("[PAD" + std::to_string(id) + "]");
  v.token_types.assign(static_cast<size_t>(rows), kUnused);
  return v;
}

void put_token(GgufVocabulary& v, int64_t id, const std::string& text, int32_t type, std::string_view file) {
  if (id < 0 || id >= static_cast<int64_t>(v.tokens.size())) {
    fail(ErrorKind::kBadFile, "{}: token '{}' has id {}, but the embedding has {} rows", file, text, id,
         v.tokens.size());
  }
  v.tokens[static_cast<size_t>(id)] = text;
  v.token_types[static_cast<size_t>(id)] = type;
}

bool put_added_token(GgufVocabulary& v, int64_t id, const std::string& text, int32_t type,
                     std::string_view file) {
  if (id >= static_cast<int64_t>(v.tokens.size())) {
    v.dropped.push_back(text);
    return false;
  }
  put_token(v, id, text, type, file);
  return true;
}

std::unique_ptr<Tokenizer> from_gguf(const GgufVocabulary& vocabulary, std::string_view file) {
  return tokenizer_from_json(build(vocabulary, file), file);
}

json tokenizer_json_from_gguf(const GgufVocabulary& vocabulary) { return build(vocabulary, "GGUF metadata"); }

json tokenizer_config_from_gguf(const GgufVocabulary& v) {
  json config{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const auto name = [&](const char* key, const std::optional<TokenId>& id) {
    if (id) config[key] = spelling(v, static_cast<size_t>(*id));
  };
  name("bos_token", v.bos);
  name("eos_token", v.eos);
  name("unk_token", v.unk);
  name("pad_token", v.pad);
  return config;
}

}  // namespace freelunch::tokenizer
