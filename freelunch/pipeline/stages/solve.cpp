#include "freelunch/pipeline/stages/solve.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "freelunch/pipeline/stages/prune.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {

SolvedMatrix solve_matrix(const RunContext& run, const model::ModelTensor& tensor, const at::Tensor& W_dense,
                          const criteria::Pruned& pruned, GroupStatistics& statistics,
                          const at::Tensor& metric) {
  const int64_t tokens = statistics.tokens(false);
  if (tokens == 0) return {.W = pruned.W, .outcome = {}};
  const reconstruct::Moments& seen = statistics.moments(false);
  const bool can_choose = run.held_out > 0 && statistics.tokens(true) > 0;
  const reconstruct::Moments& held = can_choose ? statistics.moments(true) : seen;
  reconstruct::ClosedFormSettings settings{.iterations = run.plan.grid.iterations};
  if (can_choose) settings = reconstruct::choose_settings(W_dense, pruned.mask, seen, held, run.plan.grid);
  if (tensor.role->expert >= 0) {  // the fewer tokens an expert saw, the closer it stays to the dense weights
    const double scarcity = static_cast<double>(W_dense.size(1)) / static_cast<double>(tokens);
    settings.lambda *= std::max(1.0, scarcity);
  }
  at::Tensor solved = reconstruct::solve(W_dense, pruned.mask, seen, settings);
  if (metric.defined())
    solved = reconstruct::solve_weighted(solved, W_dense, pruned.mask, seen, metric, settings);
  const reconstruct::RelativeError on_seen(W_dense, seen, metric);
  const reconstruct::RelativeError on_held(W_dense, held, metric);
  SolvedMatrix result{.W = solved,
                      .outcome = {.before = on_seen.of(pruned.W),
                                  .after = on_seen.of(solved),
                                  .held_out_before = on_held.of(pruned.W),
                                  .held_out_after = on_held.of(solved)}};
  reconstruct::RegionOutcome& outcome = result.outcome;
  run.sinks.log.log(LogLevel::kDebug, fmt::format("{}: lambda {} beta {} held-out error {:.4f} -> {:.4f}",
                                                  tensor.name, settings.lambda, settings.blend,
                                                  outcome.held_out_before, outcome.held_out_after));
  // abs: a sum of squares far below 0 means that rounding destroyed both the solution and the sum
  if (!(std::abs(outcome.held_out_after) < outcome.held_out_before)) {
    result.W = pruned.W;
    outcome.after = outcome.before;
    outcome.held_out_after = outcome.held_out_before;
  }
  return result;
}

/// Each matrix in closed form, while its mask is chosen (docs/methods/closed_form.md).
const StageType& solve_stage() {
  static const StageType type{
      .name = "solve",
      .scope = StageScope::kMasks,
      .budget = [](const CostModel& cost, const Stage&) { return prune_budget(cost, /*solve=*/true); },
      .run = [](RunContext& run, const Stage&) { prune(run, /*solve=*/true); }};
  return type;
}

}  // namespace freelunch::pipeline
