#pragma once
#include <nlohmann/json_fwd.hpp>

#include "freelunch/record/run_report.h"

namespace freelunch::pipeline {

/// How much a report held at some moment: the length of each list, and whether each single value was there.
struct ReportMark {
  size_t stages = 0, regions = 0, tensors = 0;
  bool allocation = false, dense = false, pruned = false;
};
ReportMark mark(const RunReport& report);

/// What the stages of a run added to its report since the mark; with ReportMark{}, all that they added.
nlohmann::json additions(const RunReport& report, const ReportMark& since);
/// Appends what additions() gave to a report, possibly in another process. Leaves the report as it is and
/// throws nlohmann::json::exception for any other JSON.
void append(RunReport& report, const nlohmann::json& additions);

}  // namespace freelunch::pipeline
