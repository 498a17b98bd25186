#pragma once
#include <nlohmann/json_fwd.hpp>

namespace freelunch::tokenizer {

/// Changes a parsed tokenizer.json as the files next to it ask for, in the way of transformers.
/// - Tokens that they name become added tokens. First come those of added_tokens_decoder, or of
///   added_tokens.json if there is no decoder; their flags (lstrip, ...) replace the flags in tokenizer.json.
///   Then come bos_token and the like, any other NAME_token, and extra or additional special tokens. A token
///   of the vocabulary keeps its id. Any other gets the next free id, even if its entry has another.
/// - add_prefix_space counts for the classes that build their own pre-tokenizer.
/// `config` is tokenizer_config.json, with special_tokens_map.json over it if it has no added_tokens_decoder.
/// Throws BadFile for ids and entries of the wrong type, Unsupported for split_special_tokens.
void apply_folder_overrides(nlohmann::json& root, const nlohmann::json& config,
                            const nlohmann::json& added_tokens_json);

}  // namespace freelunch::tokenizer
