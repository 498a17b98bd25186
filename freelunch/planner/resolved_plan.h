#pragma once
#include <string>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/planner/budget.h"

namespace freelunch::pipeline {

/// A plan whose every `auto` is decided, and what it is expected to hold and to take.
struct ResolvedPlan {
  CompressPlan plan;  ///< where activations live, their dtype, batches
  std::vector<Stage> stages;
  Budget budget;
  std::vector<std::string> changes;  ///< what was given up to fit, in words
};

/// Decides what the plan leaves open. With a limit, gives up in this order what the plan did not ask for by
/// name, until the planned peak is below the limit: streams on the device, streams in memory, fp32 streams,
/// batches of several windows, the `model` stage of an automatic repair. Without one, the limit is what the
/// machine has free; it bounds streams in memory and the automatic `model` stage only. Throws InvalidArgument
/// where nothing fits, saying what the least is.
ResolvedPlan resolve_plan(const CompressPlan& plan, const model::LanguageModel& model,
                          const backend::Compute& compute, const MeasuredSizes& size,
                          const MachineRates& rates, LogSink& log);

}  // namespace freelunch::pipeline
