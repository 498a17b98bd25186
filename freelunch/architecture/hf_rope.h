#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/config.h"

namespace freelunch::model {

/// Reads the rotary positions of a config.json by the rules of transformers 5: rope_scaling takes the place
/// of rope_parameters, and values inside of either precede those at the top level. The sizes of `config` must
/// have been read. Throws BadFile for missing or mistyped keys, Unsupported for other types of scaling.
void read_rope(const nlohmann::json& object, const Architecture& architecture, Config& config,
               const std::string& file);

/// Writes what read_rope reads.
void write_rope(const Config& config, const Architecture& architecture, nlohmann::json& object);

}  // namespace freelunch::model
