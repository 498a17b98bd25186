#pragma once
#include <filesystem>

#include "freelunch/base/sinks.h"
#include "freelunch/study/study_plan.h"

namespace freelunch::study {

struct StudyOutcome {
  int64_t cells = 0;
  int64_t run = 0;     ///< in this call
  int64_t failed = 0;  ///< in this call; their reasons are in their files, and a rerun tries them again
};

/// Runs what is missing of a study in `folder`: cells/ID.json for each cell as soon as it is finished, dense/
/// for what the dense models give, cache/ for weights that later cells start from (removed when no cell needs
/// them), then results.json, results.csv, results.md and study.html over all finished cells. Cells that share
/// a prefix of their settings share its work; the seconds and peaks of a stage are those of when it ran.
/// Throws Error; what is recorded stays.
StudyOutcome run_study(const StudyPlan& study, const std::filesystem::path& folder, Sinks sinks);

}  // namespace freelunch::study
