#include "freelunch/record/run_report.h"

#include <algorithm>
#include <ctime>

#include "freelunch/base/version.h"
#include "freelunch/record/record_fields.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

json figures_json(const RunReport& report) {
  json figures = json::object();
  if (report.dense) figures["dense"] = *report.dense;
  if (report.pruned) figures["pruned"] = *report.pruned;
  if (report.repaired) figures["repaired"] = *report.repaired;
  return figures;
}

json stages_json(const RunReport& report) {
  json stages = json::array();
  for (const StageRecord& record : report.stages) {
    json& stage = stages.emplace_back(record);
    const StageBudget* planned = report.planned ? report.planned->find(record.name) : nullptr;
    if (planned == nullptr) continue;
    stage["planned_bytes"] = planned->bytes();
    stage["planned_seconds"] = planned->seconds;
  }
  return stages;
}

double share(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(1, whole));
}

json tensors_json(const RunReport& report) {
  json tensors = json::array();
  for (const TensorRecord& record : report.tensors)
    tensors.emplace_back(record)["sparsity"] = share(record.zeros, record.elements);
  return tensors;
}

json sparsity_json(const RunReport& report) {
  int64_t zeros = 0;
  int64_t elements = 0;
  for (const TensorRecord& tensor : report.tensors) {
    zeros += tensor.zeros;
    elements += tensor.elements;
  }
  return {{"pruned_tensors", share(zeros, elements)}, {"whole_model", share(zeros, report.parameters)}};
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
              {"sha256", report.digests},
              {"figures", figures_json(report)},
              {"stages", stages_json(report)},
              {"regions", report.regions},
              {"tensors", tensors_json(report)},
              {"sparsity", sparsity_json(report)},
              {"peak_bytes", report.peak_bytes},
              {"seconds", report.seconds},
              {"output", plan.output.string()},
              {"format", name(plan.saved_as.format)}};
  if (report.dense_parameters > 0) object["model"]["dense_parameters"] = report.dense_parameters;
  if (report.peak_device_bytes > 0) object["peak_device_bytes"] = report.peak_device_bytes;
  if (report.planned) object["planned"] = to_json(*report.planned);
  if (!report.allocation.empty()) object["allocation"] = report.allocation;
  return object;
}

}  // namespace freelunch::pipeline
