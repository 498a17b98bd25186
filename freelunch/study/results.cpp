#include "freelunch/study/results.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

json read_json(const fs::path& path) {
  std::ifstream stream(path);
  return json::parse(stream, nullptr, /*allow_exceptions=*/false);
}

/// Mean and sample deviation; deviation null for one value.
json spread(const std::vector<double>& values) {
  double mean = 0;
  for (const double v : values) mean += v / static_cast<double>(values.size());
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  json result{{"mean", mean}, {"deviation", nullptr}, {"n", values.size()}};
  if (values.size() > 1) result["deviation"] = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return result;
}

/// What makes cells seeds of one another.
std::string without_seed(const json& settings) {
  json copy = settings;
  copy.erase("seed");
  return copy.dump();
}

/// Of the cell without repair that a setting starts from: its masks, nothing else.
std::string unrepaired(const json& settings) {
  json copy = settings;
  for (const char* key :
       {"seed", "solve", "stages", "repair", "text", "samples", "length", "held_out", "windows"})
    copy.erase(key);
  return copy.dump();
}

/// Tokens that gradient descent has seen: windows x length x epochs, over all stages.
double trained_tokens(const json& settings) {
  double tokens = 0;
  for (const json& stage : settings["stages"])
    tokens += settings.value("samples", 0.0) * settings.value("length", 0.0) * stage.value("epochs", 0.0);
  return tokens;
}

json row_of(const std::vector<json>& cells, const StudyPlan& study) {
  const json& first = cells.front();
  json row{{"settings", first["settings"]},
           {"grid", first["grid"]},
           {"seeds", json::array()},
           {"figures", json::object()},
           {"tasks", json::object()}};
  row["settings"].erase("seed");
  std::vector<double> seconds, peaks;
  for (const json& cell : cells) {
    row["seeds"].push_back(cell["settings"].value("seed", json(nullptr)));
    double total = 0;
    double peak = 0;
    for (const json& stage : cell["stages"]) {
      total += stage["seconds"].get<double>();
      peak = std::max(peak, stage["peak_bytes"].get<double>());
    }
    seconds.push_back(total);
    peaks.push_back(peak);
  }
  row["seconds"] = spread(seconds);
  row["peak_bytes"] = *std::max_element(peaks.begin(), peaks.end());
  row["stages"] = first["stages"];
  row["sparsity"] = first["sparsity"];
  row["trained_tokens"] = trained_tokens(first["settings"]);
  for (const Evaluation& e : study.evaluations) {
    std::vector<double> values;
    for (const json& cell : cells)
      if (cell["figures"].contains(e.name)) values.push_back(cell["figures"][e.name]["perplexity"]);
    if (!values.empty()) row["figures"][e.name] = spread(values);
  }
  for (const evaluate::ChoiceTask& task : study.tasks) {
    for (const char* metric : {"acc", "acc_norm"}) {
      std::vector<double> values;
      for (const json& cell : cells)
        if (cell["tasks"].contains(task.name)) values.push_back(cell["tasks"][task.name][metric]);
      if (!values.empty()) row["tasks"][task.name][metric] = spread(values);
    }
  }
  return row;
}

/// Adds to each row, for each text, the share of the gap in log-perplexity that repair closed.
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

std::string number(const json& value, int digits) {
  return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : "";
}

/// "solve,sublayer": settings that differ from the defaults in brackets.
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
    if (local && stage["loss"] != "relative-mse") add(stage["loss"]);
    if (local && stage["propagation"] != "sparse-dense")
      add(fmt::format("propagation {}", stage["propagation"].get<std::string>()));
    if (!local && stage["loss"] != "kl") add(stage["loss"]);
    if (stage.contains("learning_rate")) add(fmt::format("rate {:g}", stage["learning_rate"].get<double>()));
    if (stage.value("epochs", usual) != usual) add(fmt::format("epochs {}", stage["epochs"].get<int64_t>()));
    if (stage.value("freeze_norms", false)) add("norms frozen");
  }
  if (settings.contains("statistics")) add("statistics dense");
  if (settings.contains("allocation")) add(settings["allocation"]);
  return details.empty() ? repair : fmt::format("{} ({})", repair, details);
}

std::string windows_text(const json& settings) {
  return settings.contains("samples")
             ? fmt::format("{} x {}", settings["samples"].get<int64_t>(), settings["length"].get<int64_t>())
             : "";
}

std::string markdown(const json& results, const StudyPlan& study) {
  std::string text = "# Study\n";
  for (const json& dense : results["dense"]) {
    text += fmt::format("\nDense {}:", dense["model"].get<std::string>());
    for (const auto& [name, figure] : dense["figures"].items())
      text += fmt::format(" {} {} ({} windows of {})", name, number(figure["perplexity"], 3),
                          figure["windows"].dump(), figure["length"].dump());
    for (const auto& [name, task] : dense["tasks"].items())
      text += fmt::format(", {} {}", name, number(task["acc"], 4));
    text += "\n";
  }
  std::string grid;
  for (const json& row : results["rows"]) {
    if (row["grid"] != grid) {
      grid = row["grid"];
      text += fmt::format("\n## {}\n\n| criterion | pattern | repair | calibration |", grid);
      std::string rule = "\n|---|---|---|---|";
      for (const Evaluation& e : study.evaluations) {
        text += fmt::format(" {} | gap closed |", e.name);
        rule += "---|---|";
      }
      for (const evaluate::ChoiceTask& task : study.tasks) {
        text += fmt::format(" {} |", task.name);
        rule += "---|";
      }
      text += fmt::format(" seconds | peak |{}---|---|\n", rule);
    }
    const json& s = row["settings"];
    text += fmt::format("| {} | {} | {} | {} |", s["criterion"].get<std::string>(),
                        s["pattern"].get<std::string>(), repair_label(s), windows_text(s));
    for (const Evaluation& e : study.evaluations) {
      const json figure = row["figures"].value(e.name, json::object());
      const json deviation = figure.value("deviation", json(nullptr));
      const json gap = figure.value("gap_closed", json(nullptr));
      text += fmt::format(
          " {}{} | {} |", number(figure.value("mean", json(nullptr)), 2),
          deviation.is_number() ? fmt::format(" +- {}", number(deviation, 2)) : "",
          gap.is_number() && s["repair"] != "none" ? fmt::format("{:.0f} %", 100 * gap.get<double>()) : "");
    }
    for (const evaluate::ChoiceTask& task : study.tasks)
      text += fmt::format(
          " {} |", row["tasks"].contains(task.name) ? number(row["tasks"][task.name]["acc"]["mean"], 4) : "");
    text += fmt::format(" {} | {:.2f} GB |\n", number(row["seconds"]["mean"], 0),
                        row["peak_bytes"].get<double>() * 1e-9);
  }
  return text;
}

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string inside;
  for (const char c : text) {
    if (c == '"') inside += c;
    inside += c;
  }
  return fmt::format("\"{}\"", inside);
}

std::string csv(const json& results, const StudyPlan& study) {
  std::string text =
      "model,grid,criterion,pattern,repair,samples,length,seeds,sparsity,trained_tokens,seconds,peak_bytes";
  for (const Evaluation& e : study.evaluations)
    text += fmt::format(",{},{},{}", csv_text(e.name), csv_text(fmt::format("{} deviation", e.name)),
                        csv_text(fmt::format("{} gap closed", e.name)));
  for (const evaluate::ChoiceTask& task : study.tasks)
    text += fmt::format(",{0} acc,{0} acc_norm", task.name);
  text += "\n";
  const auto size = [](const json& s, const char* key) {
    return s.contains(key) ? s[key].dump() : std::string();
  };
  for (const json& row : results["rows"]) {
    const json& s = row["settings"];
    text += fmt::format("{},{},{},{},{},{},{},{},{},{:.0f},{},{:.0f}", csv_text(s["model"]),
                        csv_text(row["grid"]), csv_text(s["criterion"]), csv_text(s["pattern"]),
                        csv_text(repair_label(s)), size(s, "samples"), size(s, "length"), row["seeds"].size(),
                        number(row["sparsity"], 6), row["trained_tokens"].get<double>(),
                        number(row["seconds"]["mean"], 1), row["peak_bytes"].get<double>());
    for (const Evaluation& e : study.evaluations) {
      const json figure = row["figures"].value(e.name, json::object());
      for (const char* key : {"mean", "deviation", "gap_closed"})
        text += fmt::format(",{}", number(figure.value(key, json(nullptr)), 5));
    }
    for (const evaluate::ChoiceTask& task : study.tasks) {
      const json scores = row["tasks"].value(task.name, json::object());
      for (const char* metric : {"acc", "acc_norm"})
        text += fmt::format(",{}", scores.contains(metric) ? number(scores[metric]["mean"], 5) : "");
    }
    text += "\n";
  }
  return text;
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
    const json dense = read_json(folder / "dense" / (digest(name) + ".json"));
    if (dense.is_object()) results["dense"].push_back(dense);
  }
  std::vector<std::string> order;
  std::map<std::string, std::vector<json>> groups;
  for (const Cell& cell : study.cells) {
    json result = read_json(folder / "cells" / (cell.id + ".json"));
    if (!result.is_object()) continue;
    if (result.contains("error")) {
      results["failed"].push_back(result);
      continue;
    }
    result["grid"] = cell.grid;  // as the file says now
    const std::string key = without_seed(result["settings"]);
    if (!groups.contains(key)) order.push_back(key);
    groups[key].push_back(std::move(result));
  }
  for (const std::string& key : order) results["rows"].push_back(row_of(groups[key], study));
  for (json& row : results["rows"]) row["label"] = repair_label(row["settings"]);
  add_gaps(results);
  return results;
}

void write_results(const StudyPlan& study, const fs::path& folder) {
  const json results = collect_results(study, folder);
  checkpoint::write_file_atomically(folder / "results.json", results.dump(1) + "\n");
  checkpoint::write_file_atomically(folder / "results.csv", csv(results, study));
  checkpoint::write_file_atomically(folder / "results.md", markdown(results, study));
  checkpoint::write_file_atomically(folder / "study.html", study_page(results));
}

}  // namespace freelunch::study
