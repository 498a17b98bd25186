#include "pipeline/report_page.h"

#include <nlohmann/json.hpp>

namespace freelunch::pipeline {

std::string report_page(const nlohmann::json& report) { return report.dump(); }

}  // namespace freelunch::pipeline
