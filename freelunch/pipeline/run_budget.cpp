#include "freelunch/pipeline/run_budget.h"

#include "freelunch/pipeline/evaluator.h"
#include "freelunch/pipeline/stages/allocation.h"
#include "freelunch/pipeline/stages/prune.h"
#include "freelunch/pipeline/stages/sensitivity.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {

Budget run_budget(const CompressPlan& plan, const PlanningInputs& inputs, const std::vector<Stage>& stages) {
  const CostModel cost(plan, inputs, default_epochs(stages));
  const bool given = !plan.dense.empty();
  const bool with_stage = works_on_masks(stages);
  Budget budget{.stages = {}, .scratch = cost.scratch()};
  const auto evaluated = [&](const char* name) {
    if (inputs.sizes.evaluated > 0) budget.stages.push_back(evaluation_budget(cost, name));
  };
  evaluated("evaluate dense");
  if (!given && plan.allocation == sparsity::Allocation::kOwl)
    budget.stages.push_back(allocation_budget(cost));
  if (plan.sensitivity && with_stage) budget.stages.push_back(sensitivity_budget(cost));
  if (with_stage)
    budget.stages.push_back(type_of(stages.front()).budget(cost, stages.front()));
  else if (!given)
    budget.stages.push_back(prune_budget(cost, /*solve=*/false));
  evaluated("evaluate pruned");
  for (size_t i = with_stage ? 1 : 0; i < stages.size(); ++i)
    budget.stages.push_back(type_of(stages[i]).budget(cost, stages[i]));
  evaluated("evaluate repaired");
  return budget;
}

}  // namespace freelunch::pipeline
