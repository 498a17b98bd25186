#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace freelunch::pipeline {

/// report.html: one self-contained page with charts, from the content of freelunch.json. No network.
std::string report_page(const nlohmann::json& report);

}  // namespace freelunch::pipeline
