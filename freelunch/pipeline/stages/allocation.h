#pragma once
#include <vector>

#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// The fraction of zeros of each block under OWL (Yin et al. 2023, arXiv 2310.05175), from one pass over the
/// dense model. Throws Numerical if activations are not finite.
std::vector<double> owl_allocation(RunContext& run);
StageBudget allocation_budget(const CostModel& cost);

}  // namespace freelunch::pipeline
