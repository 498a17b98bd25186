#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/config.h"

namespace freelunch::model {

/// Reads the text of a Hugging Face config.json. `file` names it in errors.
/// Throws BadFile for text that is no JSON and missing or mistyped keys, Unsupported for a model_type or
/// feature that is not handled.
Config parse_config(std::string_view text, const std::string& file);

/// The same of JSON that is parsed already. Throws BadFile for missing or mistyped keys, Unsupported for a
/// model_type or feature that is not handled.
Config config_from_hugging_face(const nlohmann::json& json, const std::string& file);

/// Writes the config.json that transformers needs for a model that did not come from such a folder.
nlohmann::json config_to_hugging_face(const Config& config);

}  // namespace freelunch::model
