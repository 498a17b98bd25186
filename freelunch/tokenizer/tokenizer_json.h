#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// A tokenizer from the text of a tokenizer.json; errors name the file with `file`. Throws BadFile for JSON
/// that is broken or inconsistent, Unsupported naming the first part that this version does not handle.
std::unique_ptr<Tokenizer> from_tokenizer_json(std::string_view json, std::string_view file);
/// The same from parsed JSON.
std::unique_ptr<Tokenizer> tokenizer_from_json(const nlohmann::json& root, std::string_view file);

/// Parses JSON and limits its nesting. Throws BadFile.
nlohmann::json parse_json(std::string_view text, std::string_view file);

}  // namespace freelunch::tokenizer
