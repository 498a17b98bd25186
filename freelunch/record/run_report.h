#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/evaluate/perplexity.h"
#include "freelunch/plan/fingerprint.h"
#include "freelunch/plan/plan.h"
#include "freelunch/planner/budget.h"
#include "freelunch/record/records.h"

namespace freelunch::pipeline {

/// What a run measured. Written as freelunch.json (docs/formats/report.md) and drawn as report.html.
struct RunReport {
  std::vector<StageRecord> stages;
  std::vector<RegionRecord> regions;
  std::vector<TensorRecord> tensors;
  std::vector<double> allocation;  ///< fraction of zeros by block; empty if it is the same in every block
  std::optional<evaluate::Perplexity> dense, pruned, repaired;
  int64_t parameters = 0;         ///< of the whole model, as it is saved
  int64_t dense_parameters = 0;   ///< of the dense model, if the saved one is smaller; else 0
  int64_t zeros = 0;              ///< in all pruned matrices
  int64_t peak_bytes = 0;         ///< highest of all stages
  int64_t peak_device_bytes = 0;  ///< likewise
  double seconds = 0;             ///< in all processes that worked on the run
  std::optional<Budget> planned;  ///< the memory and time that the planner expected
  InputDigests digests;
  std::string json;  ///< the content of freelunch.json; empty until the run is over
};

/// The current time in UTC as ISO 8601: "2026-01-31T12:00:00Z".
std::string utc_date();

/// The content of freelunch.json for a run of `stages` with the resolved `plan`. The model is the one that
/// was compressed; `compute` is the device and precision that the run used.
nlohmann::json to_json(const RunReport& report, const CompressPlan& plan, const model::LanguageModel& model,
                       const backend::Compute& compute, const std::vector<StageSettings>& stages);

}  // namespace freelunch::pipeline
