#include "tokenizer/pre_tokenizer.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

/// GPT-2's, which ByteLevel applies by itself.
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

void PreTokenizer::add(const json& entry, std::string_view file) {
  if (entry.is_null()) return;
  constexpr size_t kMostSteps = 64;  // run() recurses once a step
  if (steps_.size() > kMostSteps)
    fail(ErrorKind::kUnsupported, "{}: more than {} pre-tokenizers in a row are not supported", file,
         kMostSteps);
  const std::string type = entry.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const json& part : entry.at("pretokenizers")) add(part, file);
  } else if (type == "ByteLevel") {
    if (entry.value("add_prefix_space", true)) steps_.emplace_back(PrefixSpaceStep{});
    if (entry.value("use_regex", true)) steps_.emplace_back(SplitStep{.regex = Regex(kGpt2, file)});
  } else if (type == "Digits") {
    steps_.emplace_back(
        SplitStep{.regex = Regex(entry.value("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", file)});
  } else if (type == "Split") {
    const json& pattern = entry.at("pattern");
    const std::string regex = pattern.contains("Regex") ? pattern["Regex"].get<std::string>()
                                                        : escape(pattern.at("String").get<std::string>());
    steps_.emplace_back(SplitStep{.regex = Regex(regex, file),
                                  .behavior = behavior_named(entry.at("behavior").get<std::string>(), file),
                                  .invert = entry.value("invert", false)});
  } else {
    fail(ErrorKind::kUnsupported, "{}: pre-tokenizer '{}' is not supported", file, type);
  }
}

}  // namespace freelunch::tokenizer
