#include "freelunch/record/run_report.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <ctime>

#include "freelunch/base/version.h"
#include "freelunch/record/record_fields.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

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
              {"plan", plan_json(plan, compute, stages)},
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
  if (report.peak_device_bytes > 0) object["peak_device_bytes"] = report.peak_device_bytes;
  if (report.planned) object["planned"] = to_json(*report.planned);
  if (!report.allocation.empty()) object["allocation"] = report.allocation;
  return object;
}

}  // namespace freelunch::pipeline
