#include "freelunch/tokenizer/pre_tokenizer_family.h"

#include <algorithm>

#include "freelunch/base/error.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

/// Cuts at each expression in turn, then converts to the alphabet of GPT-2.
json split_then_bytes(std::initializer_list<const char*> expressions) {
  json steps = json::array();
  for (const char* regex : expressions) {
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}});
  }
  steps.push_back(byte_level(false));
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

json digits_then_bytes() {
  const json digits{{"type", "Digits"}, {"individual_digits", true}};
  return {{"type", "Sequence"}, {"pretokenizers", {digits, byte_level(true)}}};
}

constexpr const char* kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// The default of llama.cpp, for files that name none.
json default_pre_tokenizer() {
  return split_then_bytes({R"([\p{P}\$\+<=>\^~\|]+)",
                           R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))",
                           R"(\p{N}+)", R"([0-9][0-9][0-9])"});
}

bool is_one_of(const std::string& name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

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

}  // namespace

PreTokenizerFamily pre_tokenizer_family(const std::string& pre, std::string_view file) {
  const json nfc{{"type", "NFC"}};
  if (is_one_of(pre, {"gpt-2", "gpt2", "phi-2"})) return {.pre_tokenizer = byte_level(true)};
  if (is_one_of(pre, {"olmo", "dolma", "gpt-neox", "mpt"}))
    return {.pre_tokenizer = byte_level(true), .normalizer = nfc};
  if (is_one_of(pre, {"smollm", "starcoder"})) return {.pre_tokenizer = digits_then_bytes()};
  if (is_one_of(pre, {"llama-bpe", "llama3", "llama-v3"}))
    return {.pre_tokenizer = split_then_bytes({kLlama3}), .ignore_merges = true, .add_bos = true};
  // OLMo 2 and Phi-4 have the same one as DBRX, which is that of cl100k
  if (pre == "dbrx") return {.pre_tokenizer = split_then_bytes({kLlama3})};
  if (is_one_of(pre, {"qwen2", "deepseek-r1-qwen"}))
    return {.pre_tokenizer = split_then_bytes({kQwen2}), .normalizer = nfc};
  if (pre == "tekken")
    return {.pre_tokenizer = split_then_bytes({kTekken}), .ignore_merges = true, .add_bos = true};
  if (pre == "default") return {.pre_tokenizer = default_pre_tokenizer()};
  fail(ErrorKind::kUnsupported,
       "{}: pre-tokenizer '{}' is not supported; this version handles gpt-2, phi-2, gpt-neox, olmo, mpt, "
       "smollm, starcoder, llama-bpe, dbrx, qwen2, deepseek-r1-qwen, tekken and default",
       file, pre);
}

std::optional<std::string> pre_tokenizer_name(const json& pre_tokenizer, const json& normalizer,
                                              bool ignore_merges) {
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "qwen2", "olmo", "dbrx", "tekken", "default"}) {
    const PreTokenizerFamily family = pre_tokenizer_family(pre, "");
    if (family.ignore_merges == ignore_merges && steps_of(family.pre_tokenizer) == steps_of(pre_tokenizer) &&
        steps_of(family.normalizer) == steps_of(normalizer)) {
      return pre;
    }
  }
  return std::nullopt;
}

json steps_of(const json& entry) {
  json steps = json::array();
  flatten(entry, steps);
  return steps;
}

}  // namespace freelunch::tokenizer
