#pragma once
#include <string>

#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// Measures how much the errors of each matrix's outputs cost: G = sum over tokens of g g^T (out, out), g the
/// gradient of the log-likelihood of a sampled continuation with respect to the output. One pass through the
/// dense model and back. Writes G, fp32, of every matrix to the dense scratch file, unless it is there.
void measure_sensitivity(RunContext& run);
/// The name of a matrix's G in the scratch file.
std::string sensitivity_name(const std::string& tensor);
StageBudget sensitivity_budget(const CostModel& cost);

}  // namespace freelunch::pipeline
