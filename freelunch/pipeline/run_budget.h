#pragma once
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// The budget of a run: that of each step of `stages`, of the choice of masks and of the evaluations, in the
/// order of the run.
Budget run_budget(const CompressPlan& plan, const PlanningInputs& inputs, const std::vector<Stage>& stages);

}  // namespace freelunch::pipeline
