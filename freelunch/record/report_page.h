#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace freelunch::pipeline {

/// The content of report.html: one self-contained page with charts, made from the content of freelunch.json.
/// The page loads nothing from the network.
std::string report_page(const nlohmann::json& report);

/// Fills a page template. The common head (record/report_page/head.html) replaces <!--HEAD-->: styles,
/// Chart.js, the data as `data`, and the functions that draw; the template's scripts follow it. The data is
/// escaped so that no string in it can end the script element. `title` is HTML.
std::string fill_page(std::string_view title, std::string_view page_template, const nlohmann::json& data);

}  // namespace freelunch::pipeline
