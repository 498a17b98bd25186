#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace freelunch::pipeline {

/// Expected peak memory and time of one stage. Bytes are of the memory of the compute device unless stated
/// otherwise.
struct StageBudget {
  std::string name;         ///< as the report names the stage
  int64_t runtime = 0;      ///< the process: libraries, tokenizer, windows; on a GPU the libraries alone
  int64_t weights = 0;      ///< of the region at work, or the head
  int64_t optimiser = 0;    ///< gradients, moments, the best state so far
  int64_t activations = 0;  ///< streams in memory, or those windows of them that are being read
  int64_t statistics = 0;   ///< Gram and cross-Gram matrices
  int64_t workspace = 0;    ///< temporary tensors of a pass, a solver or a loss
  int64_t host = 0;         ///< streams in host memory where the compute device has its own memory
  int64_t disk = 0;         ///< activation files, and the state that a whole-model stage resumes from
  double operations = 0;    ///< floating-point operations
  double seconds = 0;

  /// Peak bytes on the device.
  int64_t bytes() const { return runtime + weights + optimiser + activations + statistics + workspace; }
};

/// Expected peaks and times of a run.
struct Budget {
  std::vector<StageBudget> stages;  ///< in the order of the run; stages that take no time are left out
  int64_t scratch = 0;              ///< bytes of the scratch file: changed weights and masks

  /// The stage with the highest peak. There must be at least one stage.
  const StageBudget& peak() const;
  /// Peak bytes of host memory next to a device with its own memory.
  int64_t host() const;
  /// Peak bytes on disk, the scratch file included.
  int64_t disk() const;
  /// The stage of that name, or null.
  const StageBudget* find(const std::string& stage) const;
};

/// What is measured before the first stage.
struct MeasuredSizes {
  int64_t runtime = 0;      ///< resident bytes of the process; 0 on a device with its own memory
  int64_t evaluated = 0;    ///< windows of the evaluation text; 0: no evaluation
  int64_t eval_length = 0;  ///< tokens of each
};

/// {"stages": [...], "peak_bytes", "disk_bytes", "operations", "seconds"}.
nlohmann::json to_json(const Budget& budget);

}  // namespace freelunch::pipeline
