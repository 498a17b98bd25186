#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "freelunch/model/language_model.h"
#include "freelunch/plan/plan.h"
#include "freelunch/planner/machine_rates.h"

namespace freelunch::pipeline {

/// What one stage is expected to hold at its peak, in bytes of the device's memory, and to take
/// (docs/memory.md).
struct StageBudget {
  std::string name;  ///< as the report names the stage
  int64_t runtime =
      0;  ///< the process before any stage: libraries, tokenizer, windows; on a device libraries alone
  int64_t weights = 0;      ///< of the region at work, or the head
  int64_t optimiser = 0;    ///< gradients, moments, the best state
  int64_t activations = 0;  ///< streams in memory, or the windows of them that are being read
  int64_t statistics = 0;   ///< Gram matrices and their kin
  int64_t workspace = 0;    ///< what a batch's passes, a solver or a loss make and drop
  int64_t host = 0;         ///< streams in the memory of the machine beside a device
  int64_t disk = 0;         ///< files of activations, what a global stage keeps to go on from
  double operations = 0;    ///< floating-point operations
  double seconds = 0;

  int64_t bytes() const { return runtime + weights + optimiser + activations + statistics + workspace; }
};

/// What a run is expected to hold and to take.
struct Budget {
  std::vector<StageBudget> stages;  ///< in the order of the run; those that are over at once are left out
  int64_t scratch = 0;              ///< disk: changed weights and masks

  /// The stage with the highest peak; the budget has at least one.
  const StageBudget& peak() const;
  /// The most in use at once of the machine's memory beside a device.
  int64_t host() const;
  /// The most disk in use at once.
  int64_t disk() const;
  const StageBudget* find(const std::string& stage) const;
};

/// What is known before the first stage.
struct MeasuredSizes {
  int64_t runtime = 0;  ///< resident bytes of the process as it stands; 0 on a device with memory of its own
  int64_t evaluated = 0;    ///< windows of the evaluation text; 0: none
  int64_t eval_length = 0;  ///< tokens of each
};

/// The budget of a plan whose activations are settled: auto counts as memory, an absent dtype as fp32.
Budget plan_budget(const CompressPlan& plan, const model::LanguageModel& model,
                   const backend::Compute& compute, const std::vector<Stage>& stages,
                   const MeasuredSizes& size, const MachineRates& rates);

/// {"stages": [...], "peak_bytes", "disk_bytes", "operations", "seconds"}.
nlohmann::json to_json(const Budget& budget);

}  // namespace freelunch::pipeline
