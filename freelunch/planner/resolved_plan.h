#pragma once
#include <functional>
#include <string>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/planner/budget.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// A plan in which nothing is left open, and its expected memory and time.
struct ResolvedPlan {
  CompressPlan plan;  ///< with the placement and dtype of activations, and the batches
  std::vector<Stage> stages;
  Budget budget;
  std::vector<std::string> changes;  ///< the fallbacks that were taken to fit, in words
};

/// The budget of a run of these stages. Activations that the plan leaves open count as fp32 in memory.
using BudgetOf = std::function<Budget(const CompressPlan& plan, const std::vector<Stage>& stages)>;

/// Decides what the plan leaves open. `automatic` lists what `repair auto` may mean, the best first.
///
/// With a memory limit, fallbacks are taken in this order until the planned peak is below the limit:
/// activations in host memory instead of the device's, activations on disk, residual streams in bf16, one
/// window a step, the next entry of `automatic`. What the plan asks for by name is never changed. Without a
/// limit, 90 % of the free memory is the limit, and only the placement of activations and the choice from
/// `automatic` follow from it. Throws InvalidArgument if nothing fits a given limit, naming the smallest
/// limit that would.
ResolvedPlan resolve_plan(const CompressPlan& plan, const PlanningInputs& inputs, const BudgetOf& budget_of,
                          const std::vector<std::vector<Stage>>& automatic, LogSink& log);

}  // namespace freelunch::pipeline
