#pragma once
#include <filesystem>

#include "freelunch/base/sinks.h"
#include "freelunch/study/study_plan.h"

namespace freelunch::study {

struct StudyOutcome {
  int64_t cells = 0;
  int64_t run = 0;  ///< in this call
  int64_t failed =
      0;  ///< in this call, with a numerical error that is in the cell's file; a rerun retries them
};

/// Runs the cells of a study that have no result in `folder` yet. Writes cells/ID.json as soon as a cell is
/// finished, dense/ for the measurements of the dense models, cache/ for weights that later cells start from
/// (removed when no cell needs them), and results.json, results.csv, results.md and study.html over all
/// finished cells. Cells whose settings start alike share that work; the seconds and peaks of a shared stage
/// are those of the cell that ran it. Throws Error; finished cells stay.
StudyOutcome run_study(const StudyPlan& study, const std::filesystem::path& folder, Sinks sinks);

}  // namespace freelunch::study
