#pragma once
#include "freelunch/criteria/criterion.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// What choosing masks needs to look at, as it follows from a plan. The code and its budget share it.
struct PruneNeeds {
  PruneNeeds(const CompressPlan& plan, bool solve);

  const criteria::Criterion& criterion;
  criteria::StatsNeeded stats;  ///< by the criterion; nothing if the model brought its masks
  sparsity::Group group;
  bool given;             ///< masks are the zeros of the model that came
  bool solve;             ///< each matrix is also fitted in closed form
  bool observe;           ///< a stream is taken through the blocks
  bool gram;              ///< second moments of the inputs, not only column norms
  bool cross;             ///< the dense stream as well
  bool dense_statistics;  ///< statistics come from the dense stream instead of the pruned one
};

/// Chooses the masks block by block on the pruned stream, or takes those that the model brought; with `solve`
/// fits each matrix in closed form.
void prune(RunContext& run, bool solve);
StageBudget prune_budget(const CostModel& cost, bool solve);

}  // namespace freelunch::pipeline
