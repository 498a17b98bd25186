#include "tokenizer/gguf_vocabulary.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer_json.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

enum TokenType { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5 };

json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

json split_then_bytes(const char* regex) {
  const json split{
      {"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, byte_level(false)}}};
}

/// What tokenizer.ggml.pre stands for: the parts of the original tokenizer.json of that family.
struct Family {
  json pre_tokenizer;
  json normalizer;
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file does not say
};

Family family_named(const std::string& pre, std::string_view file) {
  if (pre == "gpt-2" || pre == "gpt2") return {.pre_tokenizer = byte_level(true)};
  if (pre == "smollm") {
    const json digits{{"type", "Digits"}, {"individual_digits", true}};
    return {.pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", {digits, byte_level(true)}}}};
  }
  if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    return {
        .pre_tokenizer = split_then_bytes(
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
        .ignore_merges = true,
        .add_bos = true};
  }
  if (pre == "qwen2") {
    return {
        .pre_tokenizer = split_then_bytes(
            R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
        .normalizer = {{"type", "NFC"}}};
  }
  fail(ErrorKind::kUnsupported,
       "{}: pre-tokenizer '{}' is not supported; this version handles gpt-2, smollm, llama-bpe, qwen2", file,
       pre);
}

void check(const GgufVocabulary& v, std::string_view file) {
  if (v.model != "gpt2") {
    fail(ErrorKind::kUnsupported,
         "{}: tokenizer model '{}' is not supported; this version handles byte-level BPE ('gpt2')", file,
         v.model);
  }
  if (v.tokens.empty()) fail(ErrorKind::kBadFile, "{}: tokenizer.ggml.tokens is empty", file);
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

/// BOS and EOS around the text, as the file's flags say.
json post_processor(const GgufVocabulary& v, bool add_bos, bool add_eos) {
  const json bytes{
      {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  if (!add_bos && !add_eos) return bytes;
  json single = json::array();
  json pair = json::array();
  json specials = json::object();
  const auto special = [&](TokenId id, int type_of_pair) {
    const std::string& text = v.tokens[static_cast<size_t>(id)];
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
  const json whole{
      {"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
  return {{"type", "Sequence"}, {"processors", {bytes, whole}}};
}

json build(const GgufVocabulary& v, std::string_view file) {
  check(v, file);
  const Family family = family_named(v.pre, file);
  json vocabulary = json::object();
  json added = json::array();
  for (size_t id = 0; id < v.tokens.size(); ++id) {
    const int32_t type = v.token_types.empty() ? kNormal : v.token_types[id];
    if (type == kUnused) continue;  // fills the embedding up; no text becomes it
    if (type == kControl || type == kUserDefined || type == kUnknown) {
      added.push_back({{"id", id},
                       {"content", v.tokens[id]},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", type != kUserDefined}});
    }
    if (!is_valid_utf8(v.tokens[id]))
      fail(ErrorKind::kBadFile, "{}: token {} '{}' is not UTF-8", file, id, v.tokens[id]);
    if (!vocabulary.emplace(v.tokens[id], id).second) {
      fail(ErrorKind::kBadFile, "{}: token '{}' stands twice in tokenizer.ggml.tokens", file, v.tokens[id]);
    }
  }
  json merges = json::array();
  for (const std::string& merge : v.merges) merges.push_back(merge);
  const bool add_bos = v.add_bos.value_or(family.add_bos) && v.bos;
  const bool add_eos = v.add_eos.value_or(false) && v.eos;
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer", family.normalizer},
          {"pre_tokenizer", family.pre_tokenizer},
          {"post_processor", post_processor(v, add_bos, add_eos)},
          {"decoder",
           {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", family.ignore_merges},
            {"vocab", std::move(vocabulary)},
            {"merges", std::move(merges)}}}};
}

/// The steps of a pre-tokenizer or normalizer one after the other, without what moves no cut.
void flatten(const json& entry, json& steps) {
  if (entry.is_null()) return;
  for (const char* list : {"pretokenizers", "normalizers"}) {
    if (!entry.contains(list)) continue;
    for (const json& part : entry[list]) flatten(part, steps);
    return;
  }
  json step = entry;
  step.erase("trim_offsets");
  if (step.value("type", "") == "ByteLevel") step["use_regex"] = step.value("use_regex", true);
  steps.push_back(std::move(step));
}

json steps_of(const json& entry) {
  json steps = json::array();
  flatten(entry, steps);
  return steps;
}

}  // namespace

std::optional<std::string> pre_tokenizer_name(const json& pre_tokenizer, const json& normalizer,
                                              bool ignore_merges) {
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "qwen2"}) {
    const Family family = family_named(pre, "");
    if (family.ignore_merges == ignore_merges && steps_of(family.pre_tokenizer) == steps_of(pre_tokenizer) &&
        steps_of(family.normalizer) == steps_of(normalizer)) {
      return pre;
    }
  }
  return std::nullopt;
}

std::unique_ptr<Tokenizer> from_gguf(const GgufVocabulary& vocabulary, std::string_view file) {
  return from_tokenizer_json(build(vocabulary, file).dump(-1, ' ', false, json::error_handler_t::replace),
                             file);
}

json tokenizer_json_from_gguf(const GgufVocabulary& vocabulary) { return build(vocabulary, "GGUF metadata"); }

json tokenizer_config_from_gguf(const GgufVocabulary& v, const std::string& chat_template) {
  json config{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
  const auto name = [&](const char* key, const std::optional<TokenId>& id) {
    if (id) config[key] = v.tokens.at(static_cast<size_t>(*id));
  };
  name("bos_token", v.bos);
  name("eos_token", v.eos);
  name("unk_token", v.unk);
  name("pad_token", v.pad);
  if (!chat_template.empty()) config["chat_template"] = chat_template;
  return config;
}

}  // namespace freelunch::tokenizer
