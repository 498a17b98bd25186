#include <nlohmann/json.hpp>

#include "embedded/study_template.h"
#include "pipeline/report_page.h"
#include "study/results.h"

namespace freelunch::study {

std::string study_page(const nlohmann::json& results) {
  return pipeline::fill_page(embedded::study_template(), results);
}

}  // namespace freelunch::study
