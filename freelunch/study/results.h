#pragma once
#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "freelunch/study/study_plan.h"

namespace freelunch::study {

/// The results of all finished cells: {"dense": [...], "evaluations": [...], "tasks": [...], "rows": [...],
/// "failed": [...]}. A row holds the cells of a setting, over their seeds: mean and sample deviation of each
/// perplexity and accuracy, and of the seconds; the highest peak in bytes; tokens x epochs of training. If
/// the study has the same masks without repair, the row also holds the share of the gap in log-perplexity
/// between them and the dense model that repair closed.
nlohmann::json collect_results(const StudyPlan& study, const std::filesystem::path& folder);

/// Writes results.json, results.csv, results.md and study.html into the study's folder. Throws Io.
void write_results(const StudyPlan& study, const std::filesystem::path& folder);

/// study.html: one self-contained page with charts, from the JSON of collect_results().
std::string study_page(const nlohmann::json& results);

}  // namespace freelunch::study
