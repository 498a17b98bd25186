#include "freelunch/planner/resolved_plan.h"

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/memory/device_memory.h"
#include "freelunch/memory/process_memory.h"

namespace freelunch::pipeline {
namespace {

/// Something that can be given up: applies itself to a plan, or says that there is nothing left to give.
struct Fallback {
  std::string words;
  bool (*apply)(CompressPlan& plan, const backend::Compute& compute);
};

bool to_host(CompressPlan& plan, const backend::Compute& compute) {
  if (plan.calibration.text.empty() || plan.memory.activations != model::ActivationPlacement::kAuto)
    return false;
  if (compute.device.is_cpu()) return false;
  plan.memory.activations = model::ActivationPlacement::kHost;
  return true;
}

bool to_disk(CompressPlan& plan, const backend::Compute& /*compute*/) {
  if (plan.calibration.text.empty() || plan.memory.activations != model::ActivationPlacement::kAuto)
    return false;
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

constexpr size_t kOfPlaces = 2;  // the first of them are about where activations live

const std::vector<Fallback>& fallbacks() {
  static const std::vector<Fallback> all{{"activations in the machine's memory", &to_host},
                                         {"activations on disk", &to_disk},
                                         {"streams in bf16", &to_bf16},
                                         {"one window a step", &to_single_windows}};
  return all;
}

/// What a run may take of memory that is free: nine tenths, or what it likes where the system does not tell.
int64_t share_of(int64_t available) {
  return available > 0 ? available / 10 * 9 : std::numeric_limits<int64_t>::max() / 2;
}

class Settling {
 public:
  Settling(const CompressPlan& plan, const model::LanguageModel& model, const backend::Compute& compute,
           const MeasuredSizes& size, const MachineRates& rates)
      : plan_(plan), model_(model), compute_(compute), size_(size), rates_(rates) {}

  Budget budget(const CompressPlan& plan, const std::vector<Stage>& stages) const {
    return plan_budget(plan, model_, compute_, stages, size_, rates_);
  }
  bool fits(const CompressPlan& plan, const std::vector<Stage>& stages, int64_t limit) const {
    const Budget planned = budget(plan, stages);
    return planned.stages.empty() || planned.peak().bytes() <= limit;
  }

  /// The plan with the first fallbacks that make it fit, at most `allowed` of them; all if none does.
  ResolvedPlan with_fallbacks(const std::vector<Stage>& stages, int64_t limit, size_t allowed) const {
    ResolvedPlan resolved{.plan = plan_, .stages = stages, .budget = {}, .changes = {}};
    const int64_t host = share_of(available_bytes());
    for (size_t i = 0; i < allowed && !fits(resolved.plan, stages, limit); ++i) {
      CompressPlan tried = resolved.plan;
      if (!fallbacks()[i].apply(tried, compute_) || budget(tried, stages).host() > host) continue;
      resolved.plan = std::move(tried);
      resolved.changes.push_back(fallbacks()[i].words);
    }
    resolved.budget = budget(resolved.plan, stages);
    return resolved;
  }

 private:
  const CompressPlan& plan_;
  const model::LanguageModel& model_;
  const backend::Compute& compute_;
  const MeasuredSizes& size_;
  const MachineRates& rates_;
};

}  // namespace

ResolvedPlan resolve_plan(const CompressPlan& plan, const model::LanguageModel& model,
                          const backend::Compute& compute, const MeasuredSizes& size,
                          const MachineRates& rates, LogSink& log) {
  const Settling settling(plan, model, compute, size, rates);
  const bool limited = plan.memory.limit.has_value();
  const int64_t available = compute.device.is_cpu() ? available_bytes() : free_device_bytes(compute.device);
  const int64_t limit = plan.memory.limit.value_or(size.runtime + share_of(available));
  // without a limit, only where activations live is anybody's to change
  const size_t allowed = limited ? fallbacks().size() : kOfPlaces;
  const std::vector<Stage> local{{.kind = StageKind::kSolve}, {.kind = StageKind::kSublayer}};
  std::vector<Stage> stages = plan.repair.stages;
  if (plan.repair.automatic) {
    stages = local;
    stages.push_back({.kind = StageKind::kModel});
  }
  ResolvedPlan resolved = settling.with_fallbacks(stages, limit, allowed);
  const auto over = [&] { return !resolved.budget.stages.empty() && resolved.budget.peak().bytes() > limit; };
  if (over() && plan.repair.automatic) {
    const int64_t needed = resolved.budget.peak().bytes();
    resolved = settling.with_fallbacks(local, limit, allowed);
    resolved.changes.push_back("no model stage");
    const bool refused = over() && limited;  // then one line says it all
    log.log(refused ? LogLevel::kDebug : LogLevel::kWarning,
            fmt::format("repair auto leaves out the model stage: it plans {}, and {} are {}",
                        bytes_text(needed), bytes_text(limit), limited ? "the limit" : "free"));
  }
  if (over() && limited) {
    const StageBudget& peak = resolved.budget.peak();
    fail(ErrorKind::kInvalidArgument,
         "`memory-limit` {} is too small: with all fallbacks, stage '{}' needs {}; the smallest limit that "
         "works is `memory-limit` {}MB{}",
         bytes_text(limit), peak.name, bytes_text(peak.bytes()), peak.bytes() / 1000000 + 1,
         peak.activations > peak.bytes() / 4 ? ", or fewer or shorter windows" : "");
  }
  if (resolved.plan.memory.activations == model::ActivationPlacement::kAuto)
    resolved.plan.memory.activations = model::ActivationPlacement::kMemory;
  if (!resolved.plan.memory.activation_dtype) resolved.plan.memory.activation_dtype = at::kFloat;
  for (const std::string& change : resolved.changes)
    log.log(LogLevel::kInfo, fmt::format("to fit into {}: {}", bytes_text(limit), change));
  return resolved;
}

}  // namespace freelunch::pipeline
