#pragma once
#include <string_view>

#include "freelunch/descent/descent.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// How often a region or model that diverges may start over.
int64_t restarts(const CompressPlan& plan);

/// The recipe of a stage on regions, defaults filled in. `kind`: the common suffix of the names of comparable
/// regions ("mlp"). If the last two of them that improved both needed a lower rate than the default, this one
/// starts from the higher of the two (docs/methods/learning_rate.md).
reconstruct::DescentRecipe descent_recipe(const RunContext& run, const Stage& stage, std::string_view kind);

/// Gradient descent on regions of `sublayers` consecutive sublayers: 1, or 2 a block.
void repair_regions(RunContext& run, const Stage& stage, int64_t sublayers);
StageBudget region_budget(const CostModel& cost, const Stage& stage, int64_t sublayers);

}  // namespace freelunch::pipeline
