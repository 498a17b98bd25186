#include "freelunch/record/run_report.h"

#include <algorithm>
#include <ctime>

#include "freelunch/base/version.h"
#include "freelunch/record/record_fields.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

}

}  // namespace

std::string utc_date() {
  const std::time_t now = std::time(nullptr);
  std::array<char, 32> text{};
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text.data();
}

json to_json(const RunReport& report, const CompressPlan& plan, const model::LanguageModel& model,
             const backend::Compute& compute, const std::vector<StageSettings>& stages) {
  json object{{"freelunch", kVersion},
              {"command", plan.command},
              {"date", utc_date()},
              {"model",
               {{"name", model.path().filename().string()},
                {"architecture", model.config().architecture},
                {"parameters", report.parameters}}},
              {"plan", plan_json(plan, stages, compute)},
              {"sha256", digests_json(report.digests)},
              {"figures", json::object()},
              {"stages", json::array()},
              {"regions", json::array()},
              {"tensors", json::array()},
              {"peak_bytes", report.peak_bytes},
              {"seconds", report.seconds},
              {"output", plan.output.string()},
              {"format", name(plan.saved_as.format)}};
  if (report.peak_device_bytes > 0) object["peak_device_bytes"] = report.peak_device_bytes;
  if (report.planned) object["planned"] = to_json(*report.planned);
  if (!report.allocation.empty()) object["allocation"] = report.allocation;
  return object;
}

}  // namespace freelunch::pipeline
