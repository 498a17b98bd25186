#include "freelunch/pipeline/run_budget.h"

#include <algorithm>

#include "freelunch/evaluate/final_stream.h"
#include "freelunch/pipeline/block_choice.h"
#include "freelunch/pipeline/cut.h"
#include "freelunch/pipeline/evaluator.h"
#include "freelunch/pipeline/make_smaller.h"
#include "freelunch/pipeline/run_setup.h"
#include "freelunch/pipeline/stages/allocation.h"
#include "freelunch/pipeline/stages/prune.h"
#include "freelunch/pipeline/stages/sensitivity.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {
namespace {

/// Raises a stage's workspace to what the comparison with the dense model takes at its end
/// (dense_divergence.h), or while a stage of regions runs (stages/region_probe.h), which then still holds its
/// streams. In two phases: a block, next to those of the region; then the head and the logits of both models.
/// The time is small, and not counted.
void add_comparison(const CostModel& cost, bool probed, StageBudget& stage) {
  const int64_t width = cost.config().width;
  const int64_t together = evaluate::windows_together(cost.length(), width);
  const int64_t streams =
      std::min(cost.plan().calibration.held_out, together) * cost.length() * width * kFp32Bytes;
  const int64_t passing = (probed ? stage.weights : 0) + cost.block_elements() * cost.compute_bytes() +
                          std::max(cost.largest_matrix() * kFp32Bytes, cost.widest_pass(cost.length()));
  const int64_t logits = model::kLogitRows * cost.config().vocabulary * cost.compute_bytes();
  const int64_t scoring =
      cost.head_elements() * cost.compute_bytes() + 2 * logits + cost.softmax(model::kLogitRows);
  const int64_t held = probed ? stage.activations : 0;
  const int64_t missing =
      held + streams + std::max(passing, scoring) + cost.start("").bytes() - stage.bytes();
  stage.workspace += std::max<int64_t>(0, missing);
}

/// The budgets of make_smaller(): the choice of blocks, each shape, and where there are several, the stage
/// that opens the best.
std::vector<StageBudget> cutting_budgets(const CostModel& dense, const std::vector<model::Config>& shapes,
                                         bool refits) {
  std::vector<StageBudget> stages;
  std::vector<int64_t> kept;
  for (const model::Config& shape : shapes) {
    if (shape.blocks < dense.config().blocks) kept.push_back(shape.blocks);
  }
  if (!kept.empty()) stages.push_back(block_choice_budget(dense, kept));
  const bool searches = dense.plan().structure.size.has_value();
  for (size_t i = 0; i < shapes.size(); ++i)
    stages.push_back(
        cut_budget(dense, shapes[i], refits, searches ? cut_stage(i, shapes.size()) : kCutStage));
  if (searches) stages.push_back(dense.start(kCutStage));
  return stages;
}

}  // namespace

Budget run_budget(const CompressPlan& plan, const PlanningInputs& inputs, const std::vector<Stage>& stages) {
  const bool given = !plan.dense.empty();
  const bool cuts = plan.structure.asks();
  const bool masks = given || prunes_weights(plan);  // no stage chooses masks that retain everything
  const bool with_stage = masks && works_on_masks(stages);
  const bool compared = !plan.calibration.text.empty() && plan.calibration.held_out > 0;
  const CostModel dense(plan, inputs, default_epochs(stages));
  PlanningInputs shaped = inputs;
  const std::vector<model::Config> shapes =
      cuts ? smaller_shapes(plan, inputs.model) : std::vector<model::Config>{};
  if (cuts) shaped.smaller = shapes.front();
  const CostModel cost(plan, shaped, default_epochs(stages));
  Budget budget{.stages = {}, .scratch = cost.scratch()};
  const auto evaluated = [&](const char* name) {
    if (inputs.sizes.evaluated > 0) budget.stages.push_back(evaluation_budget(cost, name));
  };
  if (inputs.sizes.evaluated > 0) budget.stages.push_back(evaluation_budget(dense, "evaluate dense"));
  if (cuts) {
    for (StageBudget& stage : cutting_budgets(dense, shapes, works_on_masks(stages))) {
      budget.stages.push_back(std::move(stage));
      if (compared) add_comparison(dense, /*probed=*/false, budget.stages.back());
    }
  }
  if (!given && plan.allocation == sparsity::Allocation::kOwl)
    budget.stages.push_back(allocation_budget(cost));
  if (plan.sensitivity && with_stage) budget.stages.push_back(sensitivity_budget(cost));
  if (with_stage)
    budget.stages.push_back(type_of(stages.front()).budget(cost, stages.front()));
  else if (!given && masks)
    budget.stages.push_back(prune_budget(cost, /*solve=*/false));
  if (compared && !given && masks) add_comparison(cost, /*probed=*/false, budget.stages.back());
  evaluated("evaluate pruned");
  for (size_t i = works_on_masks(stages) ? 1 : 0; i < stages.size(); ++i) {
    budget.stages.push_back(type_of(stages[i]).budget(cost, stages[i]));
    const bool probed = plan.guard && is_local(stages[i]) && type_of(stages[i]).ends_in_stream;
    if (compared) add_comparison(cost, probed, budget.stages.back());
  }
  evaluated("evaluate repaired");
  return budget;
}

}  // namespace freelunch::pipeline
