#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "freelunch/study/study_plan.h"

namespace freelunch::study {

/// results.md: a table for each grid, from the JSON of collect_results().
std::string markdown_tables(const nlohmann::json& results, const StudyPlan& study);
/// results.csv: a line for each row of the JSON of collect_results().
std::string csv_table(const nlohmann::json& results, const StudyPlan& study);

}  // namespace freelunch::study
