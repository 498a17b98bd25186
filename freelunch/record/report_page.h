#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace freelunch::pipeline {

/// report.html: one self-contained page with charts, from the content of freelunch.json. No network.
std::string report_page(const nlohmann::json& report);

/// A page template with Chart.js in place of /*CHART_JS*/ and the data, safe inside a script element, in
/// place of
/// /*REPORT_JSON*/.
std::string fill_page(std::string_view page_template, const nlohmann::json& data);

}  // namespace freelunch::pipeline
