#pragma once
#include <nlohmann/json_fwd.hpp>

#include "freelunch/record/run_report.h"

namespace freelunch::pipeline {

/// How far a report has come: what each of its parts held at some moment.
struct ReportMark {
  size_t stages = 0, regions = 0, tensors = 0;
  bool allocation = false, dense = false, pruned = false;
};
ReportMark mark(const RunReport& report);

/// What the stages of a run have put into its report since then.
nlohmann::json gained(const RunReport& report, const ReportMark& since);
/// Appends what gained() gave, in another process. Throws nlohmann::json::exception for anything else.
void add_gained(RunReport& report, const nlohmann::json& gain);

}  // namespace freelunch::pipeline
