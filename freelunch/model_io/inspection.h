#pragma once
#include <nlohmann/json_fwd.hpp>

#include "freelunch/base/sinks.h"
#include "freelunch/model_io/opened_model.h"

namespace freelunch::pipeline {

/// Describes a model in any format: architecture, sizes, and for every tensor its dtype, shape, bytes in its
/// file, bytes in a sparse archive, sparsity and the N:M pattern found in it; and the tensors and keys of the
/// configuration that nothing read. The keys are those that `freelunch inspect --json` prints. Reads one
/// tensor at a time. Throws Error.
nlohmann::json inspect(const ModelPlace& model, Sinks sinks);

}  // namespace freelunch::pipeline
