#pragma once
#include <functional>
#include <string>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// Runs a stage and adds its record to the report: seconds, peak memory, and the note that `stage` returns.
void timed(RunReport& report, at::Device device, const std::string& name,
           const std::function<std::string()>& stage);
/// Does the same unless the journal has the stage as finished; counts the passes over the calibration windows
/// and records the end of the stage in the journal.
void run_stage(RunContext& run, const std::string& name, const std::function<std::string()>& stage);

}  // namespace freelunch::pipeline
