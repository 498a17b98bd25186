#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace freelunch::tokenizer {

/// A family of pre-tokenizers, as tokenizer.ggml.pre names it: parts of the tokenizer.json of these models.
struct PreTokenizerFamily {
  nlohmann::json pre_tokenizer;
  nlohmann::json normalizer;
  bool ignore_merges = false;
  bool add_bos = false;  ///< if the file does not say
};

/// The family with this name. Throws Unsupported naming it and the families that are handled.
PreTokenizerFamily pre_tokenizer_family(const std::string& pre, std::string_view file);

/// The name in tokenizer.ggml.pre for the pre-tokenizer and normalizer of a tokenizer.json (null if absent).
/// Empty if there is no such name, or if the family's ignore_merges differs.
std::optional<std::string> pre_tokenizer_name(const nlohmann::json& pre_tokenizer,
                                              const nlohmann::json& normalizer, bool ignore_merges);

/// The steps of a pre-tokenizer or normalizer (null if absent) as a flat array, without the settings that do
/// not change where text is cut.
nlohmann::json steps_of(const nlohmann::json& entry);

}  // namespace freelunch::tokenizer
