#include "freelunch/study/results.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/plan/plan.h"
#include "freelunch/study/json_files.h"
#include "freelunch/study/study_records.h"
#include "freelunch/study/tables.h"

namespace freelunch::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// Mean and sample deviation; the deviation of a single value is null.
json spread(const std::vector<double>& values) {
  double mean = 0;
  for (const double v : values) mean += v / static_cast<double>(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  json result{{"mean", mean}, {"deviation", nullptr}, {"n", values.size()}};
  if (values.size() > 1) result["deviation"] = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return result;
}

/// The settings without the seed: cells with equal ones differ only in their seed.
std::string without_seed(const json& settings) {
  json copy = settings;
  copy.erase("seed");
  return copy.dump();
}

/// The settings that decide a cell's masks. The cell without repair that has equal ones is what repair
/// started from.
std::string unrepaired(const json& settings) {
  json copy = settings;
  for (const char* key : {"seed", "solve", "stages", "repair", "guard", "text", "samples", "length",
                          "held_out", "windows", "bos"})
    copy.erase(key);
  return copy.dump();
}

/// Tokens that gradient descent saw: windows x length x epochs, summed over the stages.
double trained_tokens(const json& settings) {
  double tokens = 0;
  for (const json& stage : settings["stages"])
    tokens += settings.value("samples", 0.0) * settings.value("length", 0.0) * stage.value("epochs", 0.0);
  return tokens;
}

/// "solve,sublayer (rate 0.001)": the stages, and in brackets the settings that differ from the defaults.
std::string repair_label(const json& settings) {
  std::string details;
  const auto add = [&](const std::string& text) { details += (details.empty() ? "" : ", ") + text; };
  if (settings.contains("solve"))
    for (const auto& [key, value] : settings["solve"].items())
      add(fmt::format("{} {}", key, value.is_string() ? value.get<std::string>() : value.dump()));
  const std::string repair = settings["repair"].get<std::string>();
  const int64_t usual = pipeline::default_epochs(pipeline::parse_repair(repair).stages);
  for (const json& stage : settings["stages"]) {
    const bool local = stage.contains("propagation");
    if (local && stage["loss"] != "reader-mse") add(stage["loss"]);
    if (local && stage["propagation"] != "sparse-dense")
      add(fmt::format("propagation {}", stage["propagation"].get<std::string>()));
    if (!local && stage["loss"] != "kl") add(stage["loss"]);
    if (stage.contains("learning_rate")) add(fmt::format("rate {:g}", stage["learning_rate"].get<double>()));
    if (stage.value("epochs", usual) != usual) add(fmt::format("epochs {}", stage["epochs"].get<int64_t>()));
    if (stage.value("freeze_norms", false)) add("norms frozen");
  }
  if (settings.contains("statistics")) add("statistics dense");
  if (settings.contains("allocation")) add(settings["allocation"]);
  if (settings.contains("guard")) add(fmt::format("guard {}", settings["guard"].get<std::string>()));
  return details.empty() ? repair : fmt::format("{} ({})", repair, details);
}

/// Cells that differ only in their seed, as one row.
json row_of(const std::vector<CellRecord>& cells, const StudyPlan& study) {
  const CellRecord& first = cells.front();
  json row{{"settings", first.settings}, {"grid", first.grid},        {"label", repair_label(first.settings)},
           {"seeds", json::array()},     {"figures", json::object()}, {"tasks", json::object()}};
  row["settings"].erase("seed");
  std::vector<double> seconds;
  int64_t peak_bytes = 0;
  for (const CellRecord& cell : cells) {
    row["seeds"].push_back(cell.settings.value("seed", json(nullptr)));
    double& total = seconds.emplace_back(0);
    for (const pipeline::StageRecord& stage : cell.stages) {
      total += stage.seconds;
      peak_bytes = std::max(peak_bytes, stage.peak_bytes);
    }
  }
  row["seconds"] = spread(seconds);
  row["peak_bytes"] = peak_bytes;
  row["stages"] = first.stages;
  row["sparsity"] = first.sparsity;
  row["trained_tokens"] = trained_tokens(first.settings);
  for (const Evaluation& e : study.evaluations) {
    std::vector<double> values;
    for (const CellRecord& cell : cells) {
      const auto figure = cell.measured.figures.find(e.name);
      if (figure != cell.measured.figures.end()) values.push_back(figure->second.perplexity);
    }
    if (!values.empty()) row["figures"][e.name] = spread(values);
  }
  for (const evaluate::ChoiceTask& task : study.tasks) {
    std::vector<double> acc, acc_norm;
    for (const CellRecord& cell : cells) {
      const auto score = cell.measured.tasks.find(task.name);
      if (score == cell.measured.tasks.end()) continue;
      acc.push_back(score->second.acc);
      acc_norm.push_back(score->second.acc_norm);
    }
    if (!acc.empty()) row["tasks"][task.name] = {{"acc", spread(acc)}, {"acc_norm", spread(acc_norm)}};
  }
  return row;
}

/// Adds gap_closed to the figures of each row: the share of the gap in log-perplexity between its masks alone
/// and the dense model that repair closed.
void add_gaps(json& results) {
  std::map<std::string, const json*> starts;
  for (const json& row : results["rows"])
    if (row["settings"]["repair"] == "none") starts[unrepaired(row["settings"])] = &row;
  for (json& row : results["rows"]) {
    const auto start = starts.find(unrepaired(row["settings"]));
    if (start == starts.end()) continue;
    for (auto& [name, figure] : row["figures"].items()) {
      for (const json& dense : results["dense"]) {
        if (dense["model"] != row["settings"]["model"] || !dense["figures"].contains(name)) continue;
        const double bottom = std::log(dense["figures"][name]["perplexity"].get<double>());
        const double top = std::log((*start->second)["figures"][name]["mean"].get<double>());
        const double here = std::log(figure["mean"].get<double>());
        if (top > bottom) figure["gap_closed"] = (top - here) / (top - bottom);
      }
    }
  }
}

}  // namespace

json collect_results(const StudyPlan& study, const fs::path& folder) {
  json results{{"dense", json::array()},
               {"evaluations", json::array()},
               {"tasks", json::array()},
               {"rows", json::array()},
               {"failed", json::array()}};
  for (const Evaluation& e : study.evaluations) results["evaluations"].push_back(e.name);
  for (const evaluate::ChoiceTask& task : study.tasks) results["tasks"].push_back(task.name);
  std::vector<std::string> models;
  for (const Cell& cell : study.cells) {
    const std::string name = cell.plan.model.filename().string();
    if (std::find(models.begin(), models.end(), name) == models.end()) models.push_back(name);
  }
  for (const std::string& name : models) {
    if (const auto dense = read_record<DenseRecord>(folder / "dense" / (digest(name) + ".json")))
      results["dense"].push_back(*dense);
  }
  std::vector<std::string> order;
  std::map<std::string, std::vector<CellRecord>> groups;
  for (const Cell& cell : study.cells) {
    const fs::path path = folder / "cells" / (cell.id + ".json");
    if (auto result = read_record<CellRecord>(path)) {
      result->grid = cell.grid;  // the grid's name may have changed since the cell ran
      const std::string key = without_seed(result->settings);
      if (!groups.contains(key)) order.push_back(key);
      groups[key].push_back(std::move(*result));
    } else if (const auto failed = read_record<FailedCellRecord>(path)) {
      results["failed"].push_back(*failed);
    }
  }
  for (const std::string& key : order) results["rows"].push_back(row_of(groups[key], study));
  add_gaps(results);
  return results;
}

void write_results(const StudyPlan& study, const fs::path& folder) {
  const json results = collect_results(study, folder);
  checkpoint::write_file_atomically(folder / "results.json", results.dump(1) + "\n");
  checkpoint::write_file_atomically(folder / "results.csv", csv_table(results, study));
  checkpoint::write_file_atomically(folder / "results.md", markdown_tables(results, study));
  checkpoint::write_file_atomically(folder / "study.html", study_page(results));
}

}  // namespace freelunch::study
