#include "freelunch/tokenizer/pre_tokenizer.h"

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"
#include "freelunch/tokenizer/normalizer.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

/// The expression of GPT-2, which ByteLevel applies by default.
constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

SplitBehavior behavior_named(const std::string& name, std::string_view file) {
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail(ErrorKind::kUnsupported, "{}: split behavior '{}' is not supported", file, name);
}

std::string escape(const std::string& literal) {
  std::string out;
  for (const char c : literal) {
    if (std::string_view("\\^$.|?*+()[]{}#-").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

PreTokenizer PreTokenizer::from_json(const json& entry, std::string_view file) {
  PreTokenizer result;
  result.add(entry, file);
  return result;
}

void PreTokenizer::add_split(const std::string& regex, SplitBehavior behavior, bool invert,
                             std::string_view file) {
  steps_.emplace_back(SplitStep{.regex = Regex(regex, file), .behavior = behavior, .invert = invert});
}

void PreTokenizer::add_metaspace(const json& entry, std::string_view file) {
  MetaspaceStep step{.replacement = entry.value("replacement", std::string("\u2581"))};
  if (step.replacement.empty() || code_point_at(step.replacement, 0).length != step.replacement.size())
    fail(ErrorKind::kBadFile, "{}: Metaspace's replacement '{}' is not one character", file,
         step.replacement);
  step.split = entry.value("split", true);
  // files from before 2024 use add_prefix_space instead
  const bool prefix = entry.value("add_prefix_space", true);
  const std::string scheme = entry.value("prepend_scheme", std::string(prefix ? "always" : "never"));
  if (scheme == "first") {
    step.prepend = MetaspaceStep::Prepend::kFirst;
  } else if (scheme == "never") {
    step.prepend = MetaspaceStep::Prepend::kNever;
  } else if (scheme != "always") {
    fail(ErrorKind::kUnsupported, "{}: Metaspace's prepend_scheme '{}' is not supported", file, scheme);
  }
  steps_.emplace_back(std::move(step));
}

std::string PreTokenizer::replace_spaces(const MetaspaceStep& step, std::string_view text, bool starts_text) {
  std::string replaced = replace_all(text, " ", step.replacement);
  const bool wanted = step.prepend == MetaspaceStep::Prepend::kAlways ||
                      (step.prepend == MetaspaceStep::Prepend::kFirst && starts_text);
  if (wanted && !replaced.starts_with(step.replacement)) replaced.insert(0, step.replacement);
  return replaced;
}

void PreTokenizer::add(const json& entry, std::string_view file) {
  if (entry.is_null()) return;
  constexpr size_t kMostSteps = 64;  // run() recurses once for each step
  if (steps_.size() > kMostSteps)
    fail(ErrorKind::kUnsupported, "{}: more than {} pre-tokenizers in a row are not supported", file,
         kMostSteps);
  const auto type = entry.at("type").get<std::string>();
  const auto behavior = [&](const char* otherwise) {
    return behavior_named(entry.value("behavior", std::string(otherwise)), file);
  };
  if (type == "Sequence") {
    for (const json& part : entry.at("pretokenizers")) add(part, file);
    return;
  }
  if (byte_level_) {
    fail(ErrorKind::kUnsupported, "{}: pre-tokenizer '{}' after ByteLevel is not supported", file, type);
  }
  if (type == "ByteLevel") {
    if (entry.value("add_prefix_space", true)) steps_.emplace_back(PrefixSpaceStep{});
    if (entry.value("use_regex", true)) add_split(kGpt2, SplitBehavior::kIsolated, false, file);
    byte_level_ = true;
  } else if (type == "Digits") {
    const bool each = entry.value("individual_digits", false);
    add_split(each ? R"(\p{N})" : R"(\p{N}+)", SplitBehavior::kIsolated, false, file);
  } else if (type == "Split") {
    const json& pattern = entry.at("pattern");
    const std::string regex = pattern.contains("Regex") ? pattern["Regex"].get<std::string>()
                                                        : escape(pattern.at("String").get<std::string>());
    add_split(regex, behavior_named(entry.at("behavior").get<std::string>(), file),
              entry.value("invert", false), file);
  } else if (type == "Metaspace") {
    add_metaspace(entry, file);
  } else if (type == "Punctuation") {
    add_split(R"([!-/:-@\[-`{-~]|\p{P})", behavior("Isolated"), false, file);
  } else if (type == "Whitespace") {
    // here joiners are word characters
    // the word characters that Unicode recommends (UTS 18, Annex C); only this pre-tokenizer uses them
    add_split(
        R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\s\x{200c}\x{200d}]+)",
        SplitBehavior::kRemoved, true, file);
  } else if (type == "WhitespaceSplit") {
    add_split(R"(\s)", SplitBehavior::kRemoved, false, file);
  } else if (type == "CharDelimiterSplit") {
    add_split(escape(entry.at("delimiter").get<std::string>()), SplitBehavior::kRemoved, false, file);
  } else {
    fail(ErrorKind::kUnsupported, "{}: pre-tokenizer '{}' is not supported", file, type);
  }
}

}  // namespace freelunch::tokenizer
