#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/config.h"

namespace freelunch::model {

/// Reads the text of a Hugging Face config.json. `file` names it in errors.
/// Throws BadFile for text that is not JSON and for missing or mistyped keys, Unsupported for a model_type or
/// feature that is not supported.
Config parse_config(std::string_view text, const std::string& file);

/// As parse_config, from parsed JSON.
Config config_from_hugging_face(const nlohmann::json& json, const std::string& file);

/// The keys by which config.json declares this configuration, whether or not a reader would conclude all of
/// it from them.
nlohmann::json config_keys(const Config& config);

/// The config.json that transformers needs, for a model that was not read from a Hugging Face folder.
nlohmann::json config_to_hugging_face(const Config& config);

}  // namespace freelunch::model
