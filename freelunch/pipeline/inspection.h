#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "base/sinks.h"

namespace freelunch::pipeline {

/// What a model is and how sparse: architecture, sizes, and for every tensor dtype, shape, sparsity and the
/// N:M pattern found in it. Reads every tensor once. Throws Error.
nlohmann::json inspect(const std::filesystem::path& model, Sinks sinks);

}  // namespace freelunch::pipeline
