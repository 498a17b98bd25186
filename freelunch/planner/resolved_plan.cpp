#include "freelunch/planner/resolved_plan.h"

#include <algorithm>
#include <limits>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/memory/process_memory.h"

namespace freelunch::pipeline {
namespace {

/// A way to need less memory. apply() changes the plan, or returns false where the plan leaves it nothing to
/// change.
struct Fallback {
  std::string words;
  bool (*apply)(CompressPlan& plan, const backend::Compute& compute);
};

bool leaves_placement_open(const CompressPlan& plan) {
  return !plan.calibration.text.empty() && plan.memory.activations == model::ActivationPlacement::kAuto;
}

bool to_host(CompressPlan& plan, const backend::Compute& compute) {
  if (!leaves_placement_open(plan) || !backend::of(compute.device).pinned_memory()) return false;
  plan.memory.activations = model::ActivationPlacement::kHost;
  return true;
}

bool to_disk(CompressPlan& plan, const backend::Compute& /*compute*/) {
  if (!leaves_placement_open(plan)) return false;
  plan.memory.activations = model::ActivationPlacement::kDisk;
  return true;
}

bool to_bf16(CompressPlan& plan, const backend::Compute& /*compute*/) {
  if (plan.calibration.text.empty() || plan.memory.activation_dtype) return false;
  plan.memory.activation_dtype = at::kBFloat16;
  return true;
}

bool to_single_windows(CompressPlan& plan, const backend::Compute& /*compute*/) {
  if (plan.region.batch == 1 && plan.model_stage.batch == 1) return false;
  plan.region.batch = 1;
  plan.model_stage.batch = 1;
  return true;
}

constexpr size_t kPlacementFallbacks = 2;  // the first ones, which decide where activations are kept

const std::vector<Fallback>& fallbacks() {
  static const std::vector<Fallback> all{{"activations in the machine's memory", &to_host},
                                         {"activations on disk", &to_disk},
                                         {"streams in bf16", &to_bf16},
                                         {"one window a step", &to_single_windows}};
  return all;
}

/// The memory that a run may take: 90 % of what is free; unlimited if the system does not report it.
int64_t share_of(int64_t available) {
  return available > 0 ? available / 10 * 9 : std::numeric_limits<int64_t>::max() / 2;
}

bool is_over(const Budget& budget, int64_t limit) {
  return !budget.stages.empty() && budget.peak().bytes() > limit;
}

/// The plan with as many of the first `allowed` fallbacks as it takes to fit; with all of them if it never
/// does.
ResolvedPlan with_fallbacks(const CompressPlan& plan, const std::vector<Stage>& stages,
                            const backend::Compute& compute, const BudgetOf& budget_of, int64_t limit,
                            size_t allowed) {
  ResolvedPlan resolved{.plan = plan, .stages = stages, .budget = budget_of(plan, stages), .changes = {}};
  const int64_t host = share_of(available_bytes());
  for (size_t i = 0; i < allowed && is_over(resolved.budget, limit); ++i) {
    CompressPlan tried = resolved.plan;
    if (!fallbacks()[i].apply(tried, compute)) continue;
    Budget budget = budget_of(tried, stages);
    if (budget.host() > host) continue;
    resolved.plan = std::move(tried);
    resolved.budget = std::move(budget);
    resolved.changes.push_back(fallbacks()[i].words);
  }
  return resolved;
}

/// "model" where `shorter` is `longer` without it.
std::string left_out(const std::vector<Stage>& longer, const std::vector<Stage>& shorter) {
  std::string names;
  for (const Stage& stage : longer) {
    if (std::find(shorter.begin(), shorter.end(), stage) == shorter.end())
      names += (names.empty() ? "" : ", ") + to_string(stage);
  }
  return names;
}

[[noreturn]] void refuse(const StageBudget& peak, int64_t limit) {
  fail(ErrorKind::kInvalidArgument,
       "`memory-limit` {} is too small: with all fallbacks, stage '{}' needs {}; the smallest limit that "
       "works is `memory-limit` {}MB{}",
       bytes_text(limit), peak.name, bytes_text(peak.bytes()), peak.bytes() / 1000000 + 1,
       peak.activations > peak.bytes() / 4 ? ", or fewer or shorter windows" : "");
}

}  // namespace

ResolvedPlan resolve_plan(const CompressPlan& plan, const PlanningInputs& inputs, const BudgetOf& budget_of,
                          const std::vector<std::vector<Stage>>& automatic, LogSink& log) {
  const backend::Compute& compute = inputs.compute;
  const bool limited = plan.memory.limit.has_value();
  const backend::Backend device = backend::of(compute.device);
  const int64_t available = device.own_memory() ? device.free_bytes() : available_bytes();
  const int64_t limit = plan.memory.limit.value_or(inputs.sizes.runtime + share_of(available));
  // without a limit, dtypes and batches stay as the plan has them: they change the result
  const size_t allowed = limited ? fallbacks().size() : kPlacementFallbacks;
  const auto choices =
      plan.repair.automatic ? automatic : std::vector<std::vector<Stage>>{plan.repair.stages};
  ResolvedPlan resolved = with_fallbacks(plan, choices.at(0), compute, budget_of, limit, allowed);
  for (size_t i = 1; i < choices.size() && is_over(resolved.budget, limit); ++i) {
    const int64_t needed = resolved.budget.peak().bytes();
    const std::string names = left_out(resolved.stages, choices[i]);
    resolved = with_fallbacks(plan, choices[i], compute, budget_of, limit, allowed);
    resolved.changes.push_back(fmt::format("no {} stage", names));
    const bool refused = is_over(resolved.budget, limit) && limited;  // then the error says it all
    log.log(refused ? LogLevel::kDebug : LogLevel::kWarning,
            fmt::format("repair auto leaves out the {} stage: it plans {}, and {} are {}", names,
                        bytes_text(needed), bytes_text(limit), limited ? "the limit" : "free"));
  }
  if (limited && is_over(resolved.budget, limit)) refuse(resolved.budget.peak(), limit);
  if (resolved.plan.memory.activations == model::ActivationPlacement::kAuto)
    resolved.plan.memory.activations = model::ActivationPlacement::kMemory;
  if (!resolved.plan.memory.activation_dtype) resolved.plan.memory.activation_dtype = at::kFloat;
  for (const std::string& change : resolved.changes)
    log.log(LogLevel::kInfo, fmt::format("to fit into {}: {}", bytes_text(limit), change));
  return resolved;
}

}  // namespace freelunch::pipeline
