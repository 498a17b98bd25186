#pragma once
#include "freelunch/descent/loss.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/sublayer_place.h"

namespace freelunch::pipeline {

/// What reads the residual stream after a sublayer of the dense model, as far as `loss` needs it, on the
/// compute device: the norm and the matrices of the MLP or of the next block's attention, or the final norm
/// (docs/methods/objective.md).
reconstruct::NextReader next_reader(const RunContext& run, const SublayerPlace& place,
                                    reconstruct::Loss loss);

}  // namespace freelunch::pipeline
