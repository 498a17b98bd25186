#include "pipeline/settled_plan.h"

#include <algorithm>

#include "base/error.h"
#include "pipeline/device_memory.h"
#include "pipeline/memory.h"

namespace freelunch::pipeline {
namespace {

/// Something that can be given up: applies itself to a plan, or says that there is nothing left to give.
struct Concession {
  std::string words;
  bool (*apply)(CompressPlan& plan, const model::Compute& compute);
};

bool to_host(CompressPlan& plan, const model::Compute& compute) {
  if (plan.calibration.text.empty() || plan.memory.activations != ActivationPlace::kAuto) return false;
  if (compute.device.is_cpu()) return false;
  plan.memory.activations = ActivationPlace::kHost;
  return true;
}

bool to_disk(CompressPlan& plan, const model::Compute& /*compute*/) {
  if (plan.calibration.text.empty() || plan.memory.activations != ActivationPlace::kAuto) return false;
  plan.memory.activations = ActivationPlace::kDisk;
  return true;
}

bool to_bf16(CompressPlan& plan, const model::Compute& /*compute*/) {
  if (plan.calibration.text.empty() || plan.memory.activation_dtype) return false;
  plan.memory.activation_dtype = at::kBFloat16;
  return true;
}

bool to_single_windows(CompressPlan& plan, const model::Compute& /*compute*/) {
  if (plan.region.batch == 1 && plan.whole.batch == 1) return false;
  plan.region.batch = 1;
  plan.whole.batch = 1;
  return true;
}

constexpr size_t kOfPlaces = 2;  // the first of them are about where activations live

const std::vector<Concession>& concessions() {
  static const std::vector<Concession> all{{"activations in the machine's memory", &to_host},
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
  Settling(const CompressPlan& plan, const model::LanguageModel& model, const model::Compute& compute,
           const RunSize& size, const MachineRates& rates)
      : plan_(plan), model_(model), compute_(compute), size_(size), rates_(rates) {}

  Budget budget(const CompressPlan& plan, const std::vector<Stage>& stages) const {
    return plan_budget(plan, model_, compute_, stages, size_, rates_);
  }
  bool fits(const CompressPlan& plan, const std::vector<Stage>& stages, int64_t limit) const {
    const Budget planned = budget(plan, stages);
    return planned.stages.empty() || planned.peak().bytes() <= limit;
  }

  /// The plan with the first concessions that make it fit, at most `allowed` of them; all if none does.
  SettledPlan conceded(const std::vector<Stage>& stages, int64_t limit, size_t allowed) const {
    SettledPlan settled{.plan = plan_, .stages = stages, .budget = {}, .changes = {}};
    const int64_t host = share_of(available_bytes());
    for (size_t i = 0; i < allowed && !fits(settled.plan, stages, limit); ++i) {
      CompressPlan tried = settled.plan;
      if (!concessions()[i].apply(tried, compute_) || budget(tried, stages).host() > host) continue;
      settled.plan = std::move(tried);
      settled.changes.push_back(concessions()[i].words);
    }
    settled.budget = budget(settled.plan, stages);
    return settled;
  }

 private:
  const CompressPlan& plan_;
  const model::LanguageModel& model_;
  const model::Compute& compute_;
  const RunSize& size_;
  const MachineRates& rates_;
};

}  // namespace

SettledPlan settle(const CompressPlan& plan, const model::LanguageModel& model, const model::Compute& compute,
                   const RunSize& size, const MachineRates& rates, LogSink& log) {
  const Settling settling(plan, model, compute, size, rates);
  const bool limited = plan.memory.limit.has_value();
  const int64_t available = compute.device.is_cpu() ? available_bytes() : free_device_bytes(compute.device);
  const int64_t limit = plan.memory.limit.value_or(size.runtime + share_of(available));
  // without a limit, only where activations live is anybody's to change
  const size_t allowed = limited ? concessions().size() : kOfPlaces;
  const std::vector<Stage> local{{.kind = StageKind::kSolve}, {.kind = StageKind::kHalf}};
  std::vector<Stage> stages = plan.repair.stages;
  if (plan.repair.automatic) {
    stages = local;
    stages.push_back({.kind = StageKind::kModel});
  }
  SettledPlan settled = settling.conceded(stages, limit, allowed);
  const auto over = [&] { return !settled.budget.stages.empty() && settled.budget.peak().bytes() > limit; };
  if (over() && plan.repair.automatic) {
    const int64_t needed = settled.budget.peak().bytes();
    settled = settling.conceded(local, limit, allowed);
    settled.changes.push_back("no model stage");
    const bool refused = over() && limited;  // then one line says it all
    log.log(refused ? LogLevel::kDebug : LogLevel::kWarning,
            fmt::format("repair auto leaves out the model stage: it plans {}, and {} are {}",
                        bytes_text(needed), bytes_text(limit), limited ? "the limit" : "free"));
  }
  if (over() && limited) {
    const StageBudget& peak = settled.budget.peak();
    fail(
        ErrorKind::kInvalidArgument,
        "--memory-limit {} is too little: with all that can be given up, stage '{}' needs {}; the least that "
        "would do is --memory-limit {}MB{}",
        bytes_text(limit), peak.name, bytes_text(peak.bytes()), peak.bytes() / 1000000 + 1,
        peak.activations > peak.bytes() / 4 ? ", or fewer or shorter windows" : "");
  }
  if (settled.plan.memory.activations == ActivationPlace::kAuto)
    settled.plan.memory.activations = ActivationPlace::kMemory;
  if (!settled.plan.memory.activation_dtype) settled.plan.memory.activation_dtype = at::kFloat;
  for (const std::string& change : settled.changes)
    log.log(LogLevel::kInfo, fmt::format("to fit into {}: {}", bytes_text(limit), change));
  return settled;
}

}  // namespace freelunch::pipeline
