#include "freelunch/tokenizer/tokenizer_folder.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/read_file.h"
#include "freelunch/tokenizer/added_tokens.h"
#include "freelunch/tokenizer/folder_overrides.h"
#include "freelunch/tokenizer/post_processor.h"
#include "freelunch/tokenizer/scored_vocabulary.h"
#include "freelunch/tokenizer/sentencepiece_tokenizer.h"
#include "freelunch/tokenizer/tokenizer_json.h"
#include "freelunch/tokenizer/vocabulary_of_json.h"
#include "freelunch/tokenizer/wrapped_tokenizer.h"

namespace freelunch::tokenizer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The JSON object in a file; an empty object if there is no such file.
json read_object(const fs::path& path) {
  if (!fs::exists(path)) return json::object();
  json value = parse_json(read_file(path), path.filename().string());
  if (!value.is_object()) fail(ErrorKind::kBadFile, "{}: is not a JSON object", path.filename().string());
  return value;
}

/// tokenizer_config.json. Older folders keep the special tokens in special_tokens_map.json, which comes
/// first.
json read_config(const fs::path& folder) {
  json config = read_object(folder / "tokenizer_config.json");
  if (!config.contains("added_tokens_decoder"))
    config.update(read_object(folder / "special_tokens_map.json"));
  return config;
}

/// tokenizer.json with what the files next to it change. `config` is that of read_config.
json read_tokenizer_json(const fs::path& folder, const json& config) {
  json root = parse_json(read_file(folder / "tokenizer.json"), "tokenizer.json");
  apply_folder_overrides(root, config, read_object(folder / "added_tokens.json"));
  return root;
}

/// The companion files of a vocabulary.
struct Companions {
  json config = json::object();  // tokenizer_config.json
  std::vector<AddedToken> added;
};

AddedToken added_from(const json& entry, TokenId id) {
  AddedToken token{.id = id, .content = entry.at("content").get<std::string>()};
  token.special = entry.value("special", false);
  token.left_strip = entry.value("lstrip", false);
  token.right_strip = entry.value("rstrip", false);
  token.single_word = entry.value("single_word", false);
  token.normalized = entry.value("normalized", false);
  return token;
}

Companions read_companions(const fs::path& folder) {
  Companions result;
  result.config = read_object(folder / "tokenizer_config.json");
  const auto put = [&](AddedToken token) {
    const auto same = [&](const AddedToken& other) { return other.id == token.id; };
    if (std::none_of(result.added.begin(), result.added.end(), same))
      result.added.push_back(std::move(token));
  };
  const json decoder = result.config.value("added_tokens_decoder", json::object());
  for (const auto& [key, entry] : decoder.items()) {
    const json id = json::parse(key, nullptr, false);
    put(added_from(entry, checked_id(id, "tokenizer_config.json", key)));
  }
  const json added = read_object(folder / "added_tokens.json");
  for (const auto& [content, id] : added.items())
    put({.id = checked_id(id, "added_tokens.json", content), .content = content});
  return result;
}

/// The text of the token that a configuration names, as a string or an object; empty if it names none.
std::string named_token(const json& config, const char* key) {
  if (!config.contains(key)) return "";
  const json& entry = config[key];
  if (entry.is_string()) return entry.get<std::string>();
  return entry.is_object() ? entry.value("content", std::string()) : "";
}

std::optional<bool> flag(const json& config, const char* key) {
  if (!config.contains(key) || config[key].is_null()) return std::nullopt;
  return config[key].get<bool>();
}

SentencePieceOptions sentencepiece_options(const Companions& companions) {
  SentencePieceOptions options{.added = companions.added};
  options.add_bos = flag(companions.config, "add_bos_token");
  options.add_eos = flag(companions.config, "add_eos_token").value_or(false);
  options.add_prefix = flag(companions.config, "add_prefix_space");
  options.prefix_after_added = flag(companions.config, "legacy").value_or(false);
  return options;
}

json merges_of(std::string_view text) {
  json merges = json::array();
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !(begin == 0 && line.starts_with("#version"))) merges.push_back(line);
    begin = end + 1;
  }
  return merges;
}

json template_of(const json& vocabulary, const std::string& bos, const std::string& eos) {
  if (bos.empty() && eos.empty()) return nullptr;
  json single = json::array();
  json specials = json::object();
  const auto put = [&](const std::string& text) {
    if (text.empty()) return;
    if (!vocabulary.contains(text))
      fail(ErrorKind::kBadFile, "tokenizer_config.json: '{}' is no token of vocab.json", text);
    specials[text] = {{"ids", {vocabulary[text]}}};
    single.push_back({{"SpecialToken", {{"id", text}}}});
  };
  put(bos);
  single.push_back({{"Sequence", {{"id", "A"}}}});
  put(eos);
  return {{"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", specials}};
}

/// The tokenizer.json of GPT2Tokenizer of transformers: byte-level BPE whose special tokens the configuration
/// names.
json json_of_vocabulary_and_merges(const fs::path& folder) {
  const Companions companions = read_companions(folder);
  const json vocabulary = read_object(folder / "vocab.json");
  json added = json::array();
  for (const AddedToken& token : companions.added) {
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"special", token.special},
                     {"lstrip", token.left_strip},
                     {"rstrip", token.right_strip},
                     {"single_word", token.single_word},
                     {"normalized", token.normalized}});
  }
  const json map = read_object(folder / "special_tokens_map.json");
  const auto special = [&](const char* key) {
    const std::string text = named_token(companions.config, key);
    return text.empty() ? named_token(map, key) : text;
  };
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token"}) {
    const std::string text = special(key).empty() && vocabulary.contains("<|endoftext|>") && key[0] != 'p'
                                 ? "<|endoftext|>"
                                 : special(key);
    const bool known =
        std::any_of(added.begin(), added.end(), [&](const json& token) { return token["content"] == text; });
    if (!known && vocabulary.contains(text)) {
      added.push_back(
          {{"id", vocabulary[text]}, {"content", text}, {"special", true}, {"normalized", false}});
    }
  }
  const bool add_bos = flag(companions.config, "add_bos_token").value_or(false);
  const bool add_eos = flag(companions.config, "add_eos_token").value_or(false);
  return {
      {"added_tokens", std::move(added)},
      {"pre_tokenizer",
       {{"type", "ByteLevel"},
        {"add_prefix_space", flag(companions.config, "add_prefix_space").value_or(false)}}},
      {"post_processor",
       template_of(vocabulary, add_bos ? special("bos_token") : "", add_eos ? special("eos_token") : "")},
      {"decoder", {{"type", "ByteLevel"}}},
      {"model",
       {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges_of(read_file(folder / "merges.txt"))}}}};
}

enum class Source { kNone, kJson, kModel, kVocabularyAndMerges };

Source source_of(const fs::path& folder) {
  if (fs::exists(folder / "tokenizer.json")) return Source::kJson;
  if (fs::exists(folder / "tokenizer.model")) return Source::kModel;
  if (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt"))
    return Source::kVocabularyAndMerges;
  return Source::kNone;
}

/// Runs a reader and turns a JSON value of the wrong type into BadFile naming the folder.
template <class Read>
auto checked(const fs::path& folder, const Read& read_files) {
  try {
    return read_files();
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "'{}': a tokenizer file has a value of a wrong type ({})", folder.string(),
         error.what());
  }
}

std::optional<TokenId> id_of(const Tokenizer& tokenizer, const std::string& text) {
  if (text.empty()) return std::nullopt;
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    if (tokenizer.token_text(id) == text) return id;
  }
  return std::nullopt;
}

/// What transformers sets if the files name no BOS or EOS: only these classes have tokens of their own.
std::string token_of_class(std::string_view tokenizer_class, bool bos) {
  if (tokenizer_class.ends_with("Fast")) tokenizer_class.remove_suffix(4);
  if (tokenizer_class == "GPT2Tokenizer" || tokenizer_class == "GPTNeoXTokenizer") return "<|endoftext|>";
  if (tokenizer_class == "Qwen2Tokenizer") return bos ? "" : "<|endoftext|>";
  if (tokenizer_class == "GemmaTokenizer") return bos ? "<bos>" : "<eos>";
  return "";
}

/// Names BOS and EOS as transformers does. A folder whose files name neither keeps those of the vocabulary.
std::unique_ptr<Tokenizer> with_named_ends(std::unique_ptr<Tokenizer> tokenizer, const json& config,
                                           Source source) {
  const json named_class = config.value("tokenizer_class", json());
  const auto named = [&](const char* key, bool bos, std::optional<TokenId> own) -> std::optional<TokenId> {
    if (config.contains(key)) return id_of(*tokenizer, named_token(config, key));
    if (source != Source::kJson) return own;  // the classes that read these files have their tokens
    return id_of(*tokenizer,
                 named_class.is_string() ? token_of_class(named_class.get<std::string>(), bos) : "");
  };
  std::optional<TokenId> bos = named("bos_token", true, tokenizer->bos());
  const std::optional<TokenId> eos = named("eos_token", false, tokenizer->eos());
  if (!bos && !eos) return tokenizer;
  if (!bos && tokenizer->adds_bos()) bos = tokenizer->bos();
  return std::make_unique<NamedEndsTokenizer>(std::move(tokenizer), bos, eos);
}

/// The tokenizer as its own files say, without the names of BOS and EOS in `config`, which is that of
/// read_config.
std::unique_ptr<Tokenizer> read_source(const fs::path& folder, Source source, const json& config) {
  switch (source) {
    case Source::kJson:
      return tokenizer_from_json(read_tokenizer_json(folder, config), "tokenizer.json");
    case Source::kModel:
      return from_sentencepiece(read_file(folder / "tokenizer.model"),
                                sentencepiece_options(read_companions(folder)), "tokenizer.model");
    case Source::kVocabularyAndMerges:
      return tokenizer_from_json(json_of_vocabulary_and_merges(folder), "vocab.json");
    case Source::kNone:
      break;
  }
  return nullptr;
}

GgufVocabulary vocabulary_of_model_file(const fs::path& folder, int64_t size) {
  const Companions companions = read_companions(folder);
  const SentencePieceOptions options = sentencepiece_options(companions);
  const std::string bytes = read_file(folder / "tokenizer.model");
  const auto tokenizer = from_sentencepiece(bytes, options, "tokenizer.model");
  GgufVocabulary v = vocabulary_of_sentencepiece(bytes, options, size, "tokenizer.model");
  set_specials(v, companions.config, *tokenizer);
  if (!v.bos) v.bos = tokenizer->bos();
  if (!v.eos) v.eos = tokenizer->eos();
  return v;
}

}  // namespace

std::optional<GgufVocabulary> gguf_vocabulary_of_folder(const fs::path& folder, int64_t size) {
  return checked(folder, [&]() -> std::optional<GgufVocabulary> {
    const Source source = source_of(folder);
    if (source == Source::kNone) return std::nullopt;
    if (source == Source::kModel) return vocabulary_of_model_file(folder, size);
    const json config = read_config(folder);
    return source == Source::kJson ? vocabulary_of_tokenizer_json(read_tokenizer_json(folder, config), config,
                                                                  size, "tokenizer.json")
                                   : vocabulary_of_tokenizer_json(json_of_vocabulary_and_merges(folder),
                                                                  config, size, "vocab.json");
  });
}

std::unique_ptr<Tokenizer> from_folder(const fs::path& folder) {
  auto tokenizer = checked(folder, [&]() -> std::unique_ptr<Tokenizer> {
    const Source source = source_of(folder);
    if (source == Source::kNone) return nullptr;
    const json config = read_config(folder);
    return with_named_ends(read_source(folder, source, config), config, source);
  });
  if (tokenizer) return tokenizer;
  fail(ErrorKind::kBadFile,
       "'{}' has no tokenizer: none of tokenizer.json, tokenizer.model, vocab.json with merges.txt",
       folder.string());
}

}  // namespace freelunch::tokenizer
