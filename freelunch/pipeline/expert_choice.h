#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/sublayer_place.h"

namespace freelunch::pipeline {

/// The `kept` experts of a mixture that stay, int64, ascending, by the plan's criterion for experts. `block`
/// is the block as our stream runs through it, matrices in the compute dtype; `streams` holds our stream
/// before the place's sublayer, and may be null for a criterion that reads none.
at::Tensor choose_experts(const RunContext& run, const model::Forward& forward, const model::Block& block,
                          const SublayerPlace& place, int64_t kept, const StreamPair* streams);

}  // namespace freelunch::pipeline
