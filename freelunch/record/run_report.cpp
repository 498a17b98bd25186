#include "freelunch/record/run_report.h"

#include <ATen/Parallel.h>

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

json plan_json(const CompressPlan& plan, const backend::Compute& compute,
               const std::vector<StageSettings>& stages) {
  json repair = json::array();
  for (const StageSettings& one : stages) repair.push_back(to_string(one.stage));
  const auto first = [&](StageScope scope) {
    return std::find_if(stages.begin(), stages.end(),
                        [&](const StageSettings& s) { return s.scope == scope; });
  };
  const auto local = first(StageScope::kRegions);
  const auto global = first(StageScope::kModel);
  json object{{"pattern", sparsity::to_string(plan.pattern)},
              {"criterion", plan.criterion},
              {"repair", repair},
              {"seed", plan.seed},
              {"threads", at::get_num_threads()},
              {"device", compute.device.str()},
              {"activations",
               {{"place", name(plan.memory.activations)},
                {"dtype", plan.memory.activation_dtype == at::kBFloat16 ? "bf16" : "fp32"}}},
              {"compute", compute.dtype == at::kBFloat16 ? "bf16" : "fp32"},
              {"statistics", name(plan.statistics)},
              {"sensitivity", plan.sensitivity ? "kronecker" : "none"},
              {"allocation", sparsity::name(plan.allocation)},
              {"rules", json::array()}};
  if (plan.sensitivity) {
    object["sensitivity_damping"] = plan.sensitivity_damping;
    object["sensitivity_masks"] = plan.sensitivity_masks;
  }
  for (const sparsity::Rule& rule : plan.rules)
    object["rules"].push_back({{"pattern", sparsity::to_string(rule.pattern)}, {"glob", rule.glob}});
  if (!plan.dense.empty()) {
    object["dense"] = plan.dense.filename().string();
    object["criterion"] = nullptr;  // somebody else's
    object["pattern"] = nullptr;
  }
  if (!plan.calibration.text.empty()) {
    object["calibration"] = {
        {"text", plan.calibration.text.filename().string()},
        {"samples", plan.calibration.samples},
        {"length", plan.calibration.length},
        {"held_out", plan.calibration.held_out},
        {"windows", plan.calibration.rule == calibration::WindowRule::kCrop ? "crop" : "consecutive"}};
  }
  if (local != stages.end()) {
    object["region"] = {{"loss", reconstruct::name(plan.region.loss)},
                        {"propagation", name(plan.region.propagation)},
                        {"learning_rate", local->learning_rate},
                        {"epochs", local->epochs},
                        {"batch", plan.region.batch},
                        {"freeze_norms", plan.region.freeze_norms}};
  }
  if (global != stages.end()) {
    object["model"] = {{"loss", reconstruct::name(plan.model_stage.loss)},
                       {"learning_rate", global->learning_rate},
                       {"epochs", global->epochs},
                       {"batch", plan.model_stage.batch}};
    if (global->trains == reconstruct::Trains::kLora)
      object["model"]["lora"] = {{"rank", plan.model_stage.lora.rank},
                                 {"alpha", plan.model_stage.lora.alpha}};
  }
  return object;
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
             const backend::Compute& compute, const std::vector<StageSettings>& stages) {
  json object{{"freelunch", kVersion},
              {"command", plan.command},
              {"date", utc_date()},
              {"model",
               {{"name", model.path().filename().string()},
                {"architecture", model.config().architecture},
                {"parameters", report.parameters}}},
              {"plan", plan_json(plan, compute, stages)},
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
