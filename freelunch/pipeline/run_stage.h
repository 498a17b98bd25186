#pragma once
#include <functional>
#include <string>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// A stage. It writes its results into its record; time, memory and passes are measured around it.
using StageWork = std::function<void(StageRecord&)>;

/// Runs a stage and adds its record, with seconds and peak memory, to the report.
void timed(RunReport& report, at::Device device, const std::string& name, const StageWork& stage);
/// Does the same unless the journal has the stage as finished; counts the passes over the calibration windows
/// and records the end of the stage in the journal.
void run_stage(RunContext& run, const std::string& name, const StageWork& stage);

}  // namespace freelunch::pipeline
