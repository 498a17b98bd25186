#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/descent/descent.h"

namespace freelunch::pipeline {

/// Passes through a block: how often a token of the calibration windows, held-out ones included, went through
/// a block, averaged over the blocks.
struct PassCounts {
  double forward = 0;   ///< all of them
  double backward = 0;  ///< those that gradients were taken through
  bool operator==(const PassCounts&) const = default;
};

/// One stage of a run, as it was measured.
struct StageRecord {
  std::string name;
  double seconds = 0;             ///< in all processes that worked on it
  int64_t peak_bytes = 0;         ///< resident memory of the process, in bytes
  int64_t peak_device_bytes = 0;  ///< memory of the device, in bytes; 0 if the device has none of its own
  std::string note;               ///< for a person: "perplexity 19.925"
  PassCounts passes;              ///< in the process that finished it
  /// Mean KL(dense model || weights) on held-out windows, in nats per token, before and after the stage.
  /// Absent if it was not measured; the first of them also if there was no stage of the repair before.
  std::optional<double> divergence_before = {}, divergence = {};
  bool undone = false;  ///< the weights are again those before the stage
};

/// What a repair stage did to one region.
struct RegionRecord {
  std::string stage;
  std::string region;  ///< "blocks.3.mlp", or "model"
  reconstruct::RegionOutcome outcome;
  double seconds = 0;
};

/// One pruned matrix.
struct TensorRecord {
  std::string name;  ///< in the model's files
  std::vector<int64_t> shape;
  int64_t zeros = 0;           ///< in its saved dtype
  int64_t expected_zeros = 0;  ///< that its pattern asks for
  int64_t elements = 0;
  std::string pattern;                 ///< "50%", "2:4"
  std::optional<int64_t> tokens = {};  ///< calibration tokens routed to it; only for an expert's matrix
};

}  // namespace freelunch::pipeline
