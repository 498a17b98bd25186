#pragma once
#include <nlohmann/json.hpp>
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

}  // namespace freelunch::tokenizer
