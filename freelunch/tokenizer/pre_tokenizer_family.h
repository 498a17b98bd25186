#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace freelunch::tokenizer {

/// What a value of tokenizer.ggml.pre stands for: parts of the tokenizer.json of the family it names.
struct PreTokenizerFamily {
  nlohmann::json pre_tokenizer;
  nlohmann::json normalizer;
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file does not say
};

/// Throws Unsupported naming the family and those that are handled.
PreTokenizerFamily pre_tokenizer_family(const std::string& pre, std::string_view file);

/// What tokenizer.ggml.pre calls the pre-tokenizer and normalizer of a tokenizer.json (null where absent);
/// empty if it has no name for them, or if words that are tokens go past the merges in one of the two only.
std::optional<std::string> pre_tokenizer_name(const nlohmann::json& pre_tokenizer,
                                              const nlohmann::json& normalizer, bool ignore_merges);

/// The steps of a pre-tokenizer or normalizer (null where absent) one after the other, as an array, without
/// what moves no cut.
nlohmann::json steps_of(const nlohmann::json& entry);

}  // namespace freelunch::tokenizer
