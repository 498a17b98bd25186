#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// Largest id that a file may give: eight times the largest vocabulary in use; keeps a hostile id from sizing
/// the tables.
constexpr TokenId kMaxTokenId = 1 << 21;

/// The id in a JSON value. Throws BadFile naming `token` if it is no integer in [0, kMaxTokenId].
TokenId checked_id(const nlohmann::json& value, std::string_view file, std::string_view token);

/// What goes around the ids of one text.
struct Ends {
  std::vector<TokenId> prefix, suffix;
};

/// From the "post_processor" of a tokenizer.json: TemplateProcessing, BertProcessing, RobertaProcessing,
/// ByteLevel (which moves offsets, not ids) and Sequence. Throws Unsupported naming any other.
Ends ends_from_json(const nlohmann::json& entry, std::string_view file);

}  // namespace freelunch::tokenizer
