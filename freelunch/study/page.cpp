#include <nlohmann/json.hpp>

#include "embedded/study_template.h"
#include "freelunch/record/report_page.h"
#include "freelunch/study/results.h"

namespace freelunch::study {

std::string study_page(const nlohmann::json& results) {
  return pipeline::fill_page("freelunch study", embedded::study_template(), results);
}

}  // namespace freelunch::study
