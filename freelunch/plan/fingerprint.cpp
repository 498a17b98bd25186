#include "freelunch/plan/fingerprint.h"

#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/digest.h"
#include "freelunch/base/error.h"
#include "freelunch/base/version.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// The files that make a model: a GGUF file with its further parts, or what of a folder is read.
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

template <typename T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

// Each struct is taken apart member by member, so that a new member does not compile before it is decided
// here whether it changes what is written. Keys are the options of the command where there is one.

json options_of(const CalibrationOptions& options) {
  const auto& [text, one_document_a_line, rule, samples, length, held_out] = options;
  return {{"--lines", one_document_a_line},
          {"--windows", static_cast<int>(rule)},
          {"--samples", samples},
          {"--length", length},
          {"--held-out", held_out}};
}

json options_of(const EvaluationOptions& options) {
  const auto& [text, length, windows, from_end] = options;
  return {{"--evaluate-length", or_null(length)},
          {"--evaluate-windows", or_null(windows)},
          {"evaluation from the end", from_end}};
}

json options_of(const RegionOptions& options) {
  const auto& [propagation, loss, learning_rate, epochs, batch, freeze_norms] = options;
  return {{"--propagation", name(propagation)},
          {"--loss", reconstruct::name(loss)},
          {"--learning-rate", or_null(learning_rate)},
          {"--epochs", or_null(epochs)},
          {"--batch", batch},
          {"--freeze-norms", freeze_norms}};
}

json options_of(const ModelStageOptions& options) {
  const auto& [loss, learning_rate, epochs, batch, lora] = options;
  const auto& [rank, alpha] = lora;
  return {{"--model-loss", reconstruct::name(loss)},
          {"--model-learning-rate", or_null(learning_rate)},
          {"--model-epochs", or_null(epochs)},
          {"--model-batch", batch},
          {"--lora-rank", rank},
          {"--lora-alpha", alpha}};
}

json options_of(const reconstruct::ClosedFormGrid& grid) {
  const auto& [lambdas, blends, iterations, rows] = grid;
  return {
      {"--lambda", lambdas}, {"--blend", blends}, {"--iterations", iterations}, {"rows of the grid", rows}};
}

/// The number itself: its text is rounded.
json options_of(const sparsity::Pattern& pattern) {
  const auto* unstructured = std::get_if<sparsity::Unstructured>(&pattern);
  return unstructured != nullptr ? json(unstructured->zero_fraction) : json(sparsity::to_string(pattern));
}

// What MemoryOptions lead to is a choice of the first process that the journal keeps; where activations are
// changes no bytes. The output format (saved_as) matters only to saving, which every process does anew.
json options_of(const CompressPlan& plan) {
  const auto& [model, dense, output, overwrite, saved_as, pattern, group, rules, allocation, criterion,
               statistics, sensitivity, sensitivity_damping, sensitivity_masks, repair, calibration,
               evaluation, grid, region, model_stage, compute, memory, seed, command, restart, commit_seconds,
               on_divergence] = plan;
  json stages = json::array();
  for (const Stage& stage : repair.stages) stages.push_back(to_string(stage));
  json object{{"--sparsity or --pattern", options_of(pattern)},
              {"--group", group ? json(static_cast<int>(*group)) : json()},
              {"--rule", json::array()},
              {"--allocation", sparsity::name(allocation)},
              {"--criterion", criterion},
              {"--statistics", name(statistics)},
              {"--sensitivity", sensitivity},
              {"--sensitivity-damping", sensitivity_damping},
              {"--sensitivity-masks", sensitivity_masks},
              {"--repair", repair.automatic ? json("auto") : stages},
              {"--seed", seed},
              {"--activation-dtype",
               memory.activation_dtype ? json(at::toString(*memory.activation_dtype)) : json()}};
  for (const sparsity::Rule& rule : rules) object["--rule"].push_back({options_of(rule.pattern), rule.glob});
  for (const json& part : {options_of(calibration), options_of(evaluation), options_of(grid),
                           options_of(region), options_of(model_stage)})
    object.update(part);
  return object;
}

}  // namespace

InputDigests digest_inputs(const CompressPlan& plan) {
  InputDigests digests{.model = digests_of(plan.model), .dense = digests_of(plan.dense)};
  if (!plan.calibration.text.empty()) digests.calibration = sha256_of_file(plan.calibration.text);
  if (!plan.evaluation.text.empty()) digests.evaluation = sha256_of_file(plan.evaluation.text);
  return digests;
}

json fingerprint(const CompressPlan& plan, const backend::Compute& compute, const InputDigests& digests) {
  json object{{"freelunch", kVersion}, {"option", options_of(plan)}};
  object["sha256 of the model's"] = digests.model;
  if (!digests.dense.empty()) object["sha256 of the dense model's"] = digests.dense;
  object["sha256 of"] = {{"the calibration text", digests.calibration},
                         {"the evaluation text", digests.evaluation}};
  object["option"]["--threads"] = at::get_num_threads();
  object["option"]["--device"] = compute.device.str();
  object["option"]["--compute"] = backend::dtype_name(compute.dtype);
  return object;
}

}  // namespace freelunch::pipeline
