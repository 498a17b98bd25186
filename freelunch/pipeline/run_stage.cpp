#include "freelunch/pipeline/run_stage.h"

#include <algorithm>
#include <utility>

#include "freelunch/backend/backend.h"
#include "freelunch/base/stopwatch.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/model/passes.h"

namespace freelunch::pipeline {

void timed(RunReport& report, at::Device device, const std::string& name, const StageWork& stage) {
  release_freed_memory();
  reset_peak_resident();
  backend::of(device).reset_peak_bytes();
  const Stopwatch watch;
  StageRecord record{.name = name};
  stage(record);
  record.seconds = watch.seconds();
  record.peak_bytes = peak_resident_bytes();
  record.peak_device_bytes = backend::of(device).peak_bytes();
  report.peak_bytes = std::max(report.peak_bytes, record.peak_bytes);
  report.peak_device_bytes = std::max(report.peak_device_bytes, record.peak_device_bytes);
  report.stages.push_back(std::move(record));
}

void run_stage(RunContext& run, const std::string& name, const StageWork& stage) {
  if (run.journal.finished(name)) return;
  run.journal.begin(name);
  const model::Passes before = model::passes_so_far();
  timed(run.report, run.compute.device, name, stage);
  const model::Passes after = model::passes_so_far();
  if (!run.note.empty()) run.report.stages.back().note = std::exchange(run.note, "");
  if (run.windows.defined() && run.windows.numel() > 0) {
    const auto all = static_cast<double>(run.windows.numel() * 2 * run.model().config().blocks);
    StageRecord& record = run.report.stages.back();
    record.passes = {.forward = static_cast<double>(after.forward - before.forward) / all,
                     .backward = static_cast<double>(after.recorded - before.recorded) / all};
  }
  run.journal.end();
}

}  // namespace freelunch::pipeline
