#include "freelunch/pipeline/run_stage.h"

#include <algorithm>

#include "freelunch/backend/backend.h"
#include "freelunch/base/stopwatch.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/model/passes.h"

namespace freelunch::pipeline {

void timed(RunReport& report, at::Device device, const std::string& name,
           const std::function<std::string()>& stage) {
  release_freed_memory();
  reset_peak_resident();
  backend::of(device).reset_peak_bytes();
  const Stopwatch watch;
  const std::string note = stage();
  const double seconds = watch.seconds();
  const int64_t peak = peak_resident_bytes();
  const int64_t on_device = backend::of(device).peak_bytes();
  report.peak_bytes = std::max(report.peak_bytes, peak);
  report.peak_device_bytes = std::max(report.peak_device_bytes, on_device);
  report.stages.push_back(
      {.name = name, .seconds = seconds, .peak_bytes = peak, .peak_device_bytes = on_device, .note = note});
}

void run_stage(RunContext& run, const std::string& name, const std::function<std::string()>& stage) {
  if (run.journal.finished(name)) return;
  run.journal.begin(name);
  const model::Passes before = model::passes_so_far();
  timed(run.report, run.compute.device, name, stage);
  const model::Passes after = model::passes_so_far();
  if (run.windows.defined() && run.windows.numel() > 0) {
    const auto all = static_cast<double>(run.windows.numel() * 2 * run.model().config().blocks);
    StageRecord& record = run.report.stages.back();
    record.passes = {.forward = static_cast<double>(after.forward - before.forward) / all,
                     .backward = static_cast<double>(after.recorded - before.recorded) / all};
  }
  run.journal.end();
}

}  // namespace freelunch::pipeline
