#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/descent/descent.h"
#include "freelunch/evaluate/perplexity.h"
#include "freelunch/plan/fingerprint.h"
#include "freelunch/plan/plan.h"
#include "freelunch/planner/budget.h"

namespace freelunch::pipeline {

struct StageRecord {
  std::string name;
  double seconds = 0;
  int64_t peak_bytes = 0;
  int64_t peak_device_bytes = 0;  ///< of a device with memory of its own
  std::string note;
  /// How often a token of the calibration windows, held-out ones included, went through a block in this stage
  /// in this process, on average.
  double passes = 0;
  double backward_passes = 0;
};

struct RegionRecord {
  std::string stage;
  std::string region;
  reconstruct::RegionOutcome outcome;
  double seconds = 0;
};

struct TensorRecord {
  std::string name;
  std::vector<int64_t> shape;
  int64_t zeros = 0;
  int64_t expected_zeros = 0;
  int64_t elements = 0;
  std::string pattern;
  std::optional<int64_t> tokens = {};  ///< of an expert's matrix: those its statistics saw
};

/// What a run measured. Written as freelunch.json and drawn as report.html.
struct RunReport {
  std::vector<StageRecord> stages;
  std::vector<RegionRecord> regions;
  std::vector<TensorRecord> tensors;
  std::vector<double> allocation;  ///< fraction of zeros by block, where the plan asks for other than uniform
  std::optional<evaluate::Perplexity> dense, pruned, repaired;
  int64_t parameters = 0;
  int64_t zeros = 0;
  int64_t peak_bytes = 0;
  int64_t peak_device_bytes = 0;
  double seconds = 0;
  std::optional<Budget> planned;  ///< what the run was expected to hold
  InputDigests digests;
  std::string json;  ///< the content of freelunch.json, once the run is over
};

/// Now, such as "2026-01-31T12:00:00Z".
std::string utc_date();

/// The content of freelunch.json.
nlohmann::json to_json(const RunReport& report, const CompressPlan& plan, const model::LanguageModel& model,
                       const backend::Compute& compute, const std::vector<StageSettings>& stages);

}  // namespace freelunch::pipeline
