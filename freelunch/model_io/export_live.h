#pragma once
#include "freelunch/base/sinks.h"
#include "freelunch/model/live_tensors.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::pipeline {

/// Writes the weights that a run has changed into the tensors that `weights` reads, rounded as
/// export_folder() rounds them. Holds one tensor at a time. Checks all values before it writes the first, and
/// is not interrupted while it writes. `plain_zeros`: unchanged tensors lose their negative zeros too.
void write_live(const model::WeightView& weights, const model::LiveTensors& tensors, bool plain_zeros,
                ProgressSink& progress);

}  // namespace freelunch::pipeline
