#include "freelunch/record/run_report.h"

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "freelunch/base/version.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

json figure(const std::optional<evaluate::Perplexity>& p) {
  if (!p) return nullptr;
  return {
      {"perplexity", p->perplexity}, {"tokens", p->tokens}, {"windows", p->windows}, {"length", p->length}};
}

json digests_json(const InputDigests& digests) {
  json object{{"model", digests.model}};
  if (!digests.dense.empty()) object["dense"] = digests.dense;
  if (!digests.calibration.empty()) object["calibration"] = digests.calibration;
  if (!digests.evaluation.empty()) object["evaluation"] = digests.evaluation;
  return object;
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
             const backend::Compute& compute, const std::vector<Stage>& stages) {
  json object{{"freelunch", kVersion},
              {"command", plan.command},
              {"date", utc_date()},
              {"model",
               {{"name", model.path().filename().string()},
                {"architecture", model.config().architecture},
                {"parameters", report.parameters}}},
              {"plan", plan_json(plan, stages, compute, model.config().width)},
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
  if (report.dense) object["figures"]["dense"] = figure(report.dense);
  if (report.pruned) object["figures"]["pruned"] = figure(report.pruned);
  if (report.repaired) object["figures"]["repaired"] = figure(report.repaired);
  for (const StageRecord& s : report.stages) {
    object["stages"].push_back(
        {{"name", s.name}, {"seconds", s.seconds}, {"peak_bytes", s.peak_bytes}, {"note", s.note}});
    json& stage = object["stages"].back();
    if (s.peak_device_bytes > 0) stage["peak_device_bytes"] = s.peak_device_bytes;
    if (s.passes > 0) stage["passes"] = {{"forward", s.passes}, {"backward", s.backward_passes}};
    if (const StageBudget* planned = report.planned ? report.planned->find(s.name) : nullptr) {
      stage["planned_bytes"] = planned->bytes();
      stage["planned_seconds"] = planned->seconds;
    }
  }
  for (const RegionRecord& r : report.regions) {
    object["regions"].push_back({{"stage", r.stage},
                                 {"region", r.region},
                                 {"before", r.outcome.before},
                                 {"after", r.outcome.after},
                                 {"held_out_before", r.outcome.held_out_before},
                                 {"held_out_after", r.outcome.held_out_after},
                                 {"seconds", r.seconds},
                                 {"improved", r.outcome.improved},
                                 {"restarts", r.outcome.restarts}});
    if (r.outcome.learning_rate > 0) {
      object["regions"].back()["learning_rate"] = r.outcome.learning_rate;
      object["regions"].back()["retries"] = r.outcome.retries;
    }
  }
  int64_t zeros = 0;
  int64_t elements = 0;
  for (const TensorRecord& t : report.tensors) {
    const double sparsity = static_cast<double>(t.zeros) / static_cast<double>(t.elements);
    object["tensors"].push_back({{"name", t.name},
                                 {"shape", t.shape},
                                 {"zeros", t.zeros},
                                 {"elements", t.elements},
                                 {"sparsity", sparsity},
                                 {"pattern", t.pattern}});
    if (t.tokens) object["tensors"].back()["tokens"] = *t.tokens;
    zeros += t.zeros;
    elements += t.elements;
  }
  object["sparsity"] = {
      {"pruned_tensors", elements == 0 ? 0.0 : static_cast<double>(zeros) / static_cast<double>(elements)},
      {"whole_model",
       static_cast<double>(zeros) / static_cast<double>(std::max<int64_t>(1, report.parameters))}};
  return object;
}

}  // namespace freelunch::pipeline
