#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The largest id that a file may contain, eight times the largest vocabulary in use. It limits the size of
/// tables that a hostile file can cause.
constexpr TokenId kMaxTokenId = 1 << 21;

/// The id in a JSON value. Throws BadFile naming `token` if it is not an integer in [0, kMaxTokenId].
TokenId checked_id(const nlohmann::json& value, std::string_view file, std::string_view token);

/// The ids that are put before and after those of a text.
struct Ends {
  std::vector<TokenId> prefix, suffix;
};

/// Reads the "post_processor" of a tokenizer.json: TemplateProcessing, BertProcessing, RobertaProcessing,
/// ByteLevel (which changes offsets only, not ids) and Sequence. Throws Unsupported naming any other.
Ends ends_from_json(const nlohmann::json& entry, std::string_view file);

}  // namespace freelunch::tokenizer
