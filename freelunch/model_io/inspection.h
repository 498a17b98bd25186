#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "freelunch/base/sinks.h"

namespace freelunch::pipeline {

/// What a model is and how sparse, in any format: architecture, sizes, and for every tensor dtype, shape,
/// bytes in its file and in a sparse archive, sparsity and the N:M pattern found in it. Reads one tensor at a
/// time. Throws Error.
nlohmann::json inspect(const std::filesystem::path& model, Sinks sinks);

}  // namespace freelunch::pipeline
