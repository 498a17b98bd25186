#pragma once
#include "freelunch/criteria/criterion.h"
#include "freelunch/descent/descent.h"
#include "freelunch/pipeline/group_statistics.h"
#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// A matrix after the stage `solve`.
struct SolvedMatrix {
  at::Tensor W;  ///< (out, in) fp32, zero outside the mask
  reconstruct::RegionOutcome outcome;
};

/// Fits the retained weights of a matrix in closed form to the dense outputs, and keeps the pruned weights
/// where that made the held-out error no smaller. W_dense (out, in) fp32; `metric` (out, out) fp32 weighs the
/// outputs' errors, undefined if all count the same. Without a token in `statistics` the pruned weights stay.
SolvedMatrix solve_matrix(const RunContext& run, const model::ModelTensor& tensor, const at::Tensor& W_dense,
                          const criteria::Pruned& pruned, GroupStatistics& statistics,
                          const at::Tensor& metric);

}  // namespace freelunch::pipeline
