#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "freelunch/study/study_plan.h"

namespace freelunch::study {

/// Everything that is finished of a study: {"dense": [...], "evaluations": [...], "rows": [...]}. A row is a
/// setting over its seeds: mean and sample deviation of each perplexity and accuracy, the share of the gap in
/// log-perplexity between its masks alone and the dense model that it closes (where a cell without repair is
/// there), seconds, peak bytes, tokens x epochs.
nlohmann::json collect_results(const StudyPlan& study, const std::filesystem::path& folder);

/// results.json, results.csv, results.md and study.html in the study's folder.
void write_results(const StudyPlan& study, const std::filesystem::path& folder);

/// The page with the plots.
std::string study_page(const nlohmann::json& results);

}  // namespace freelunch::study
