#include "freelunch/record/report_page.h"

#include <nlohmann/json.hpp>
#include <string_view>

#include "embedded/chart_js.h"
#include "embedded/page_head.h"
#include "embedded/report_template.h"

namespace freelunch::pipeline {
namespace {

/// JSON for a script element: "</script" in a string must not end the element, "<!--" must not open a
/// comment.
std::string script_safe(const nlohmann::json& report) {
  const std::string text = report.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string safe;
  safe.reserve(text.size());
  for (const char c : text) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

void replace_once(std::string& page, std::string_view placeholder, std::string_view content) {
  const size_t at = page.find(placeholder);
  if (at != std::string::npos) page.replace(at, placeholder.size(), content);
}

}  // namespace

std::string fill_page(std::string_view title, std::string_view page_template, const nlohmann::json& data) {
  std::string page(page_template);
  replace_once(page, "<!--HEAD-->\n", embedded::page_head());
  replace_once(page, "/*TITLE*/", title);
  // The data comes last, so that a placeholder inside it is not replaced.
  replace_once(page, "/*CHART_JS*/", embedded::chart_js());
  replace_once(page, "/*REPORT_JSON*/", script_safe(data));
  return page;
}

std::string report_page(const nlohmann::json& report) {
  return fill_page("freelunch report", embedded::report_template(), report);
}

}  // namespace freelunch::pipeline
