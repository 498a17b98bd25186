#include "freelunch/plan/fingerprint.h"

#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/digest.h"
#include "freelunch/base/error.h"
#include "freelunch/base/version.h"
#include "freelunch/plan/options.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The files of a model: a GGUF file with its further splits, or the files of a folder that are read.
std::vector<fs::path> files_of(const fs::path& model) {
  const bool folder = fs::is_directory(model);
  const std::string name = model.filename().string();
  const size_t part = name.find("-00001-of-");
  if (!folder && part == std::string::npos) return {model};
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder ? model : model.parent_path(), error)) {
    const fs::path& path = entry.path();
    const std::string extension = path.extension().string();
    const bool wanted =
        folder ? extension == ".safetensors" || extension == ".json" || extension == ".model" ||
                     extension == ".gguf"
               : extension == ".gguf" && path.filename().string().starts_with(name.substr(0, part) + "-");
    if (wanted && entry.is_regular_file()) files.push_back(path);
  }
  if (error) fail(ErrorKind::kIo, "cannot read '{}': {}", model.string(), error.message());
  return files;
}

std::map<std::string, std::string> digests_of(const fs::path& model) {
  std::map<std::string, std::string> digests;
  if (model.empty()) return digests;
  for (const fs::path& file : files_of(model)) digests[file.filename().string()] = sha256_of_file(file);
  return digests;
}

CompressPlan with_compute(CompressPlan plan, const backend::Compute& compute) {
  plan.compute = {.device = compute.device.str(),
                  .compute = std::string(backend::dtype_name(compute.dtype)),
                  .threads = at::get_num_threads()};
  return plan;
}

}  // namespace

InputDigests digest_inputs(const CompressPlan& plan) {
  InputDigests digests{.model = digests_of(plan.model), .dense = digests_of(plan.dense)};
  if (plan.live) digests.model["tensors in memory"] = plan.live->sha256();
  if (!plan.calibration.text.empty()) digests.calibration = sha256_of_file(plan.calibration.text);
  if (!plan.evaluation.text.empty()) digests.evaluation = sha256_of_file(plan.evaluation.text);
  return digests;
}

json fingerprint(const CompressPlan& plan, const backend::Compute& compute, const InputDigests& digests) {
  json object{{"freelunch", kVersion}, {"option", json::object()}};
  const CompressPlan resolved = with_compute(plan, compute);
  for (const PlanOption& option : plan_options()) {
    if (option.effect == Effect::kResult) object["option"][field_name(option.name)] = option.value(resolved);
  }
  object["sha256 of the model's"] = digests.model;
  if (!digests.dense.empty()) object["sha256 of the dense model's"] = digests.dense;
  object["sha256 of"] = {{"the calibration text", digests.calibration},
                         {"the evaluation text", digests.evaluation}};
  return object;
}

json plan_json(const CompressPlan& plan, const std::vector<StageSettings>& stages,
               const backend::Compute& compute) {
  CompressPlan resolved = with_compute(plan, compute);
  resolved.repair = {.automatic = false, .stages = {}};
  resolved.pattern = pattern_of(plan);
  for (const StageSettings& one : stages) {
    resolved.repair.stages.push_back(one.stage);
    if (one.scope == StageScope::kRegions) {
      resolved.region.learning_rate = plan.region.learning_rate.value_or(one.learning_rate);
      resolved.region.rate_unit = one.rate_unit;
      resolved.region.epochs = one.epochs;
    } else if (one.scope == StageScope::kModel) {
      resolved.model_stage.learning_rate = plan.model_stage.learning_rate.value_or(one.learning_rate);
      resolved.model_stage.rate_unit = one.rate_unit;
      resolved.model_stage.epochs = one.epochs;
    }
  }
  json object = json::object();
  for (const PlanOption& option : plan_options()) {
    const json value = option.value(resolved);
    if (option.effect == Effect::kNone || value.is_null() || !applies(option, resolved, stages)) continue;
    const bool path = option.kind == ValueKind::kPath;  // the file's name alone: reports are passed on
    object[option.name] = path ? json(fs::path(value.get<std::string>()).filename().string()) : value;
  }
  return object;
}

}  // namespace freelunch::pipeline
