#include "freelunch/study/tables.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"

namespace freelunch::study {
namespace {

using nlohmann::json;

/// Empty for null, and for a number that is not finite.
std::string number(const json& value, int digits) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) return "";
  return fmt::format("{:.{}f}", value.get<double>(), digits);
}

std::string windows_text(const json& settings) {
  return settings.contains("samples")
             ? fmt::format("{} x {}", settings["samples"].get<int64_t>(), settings["length"].get<int64_t>())
             : "";
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

}  // namespace

std::string markdown_tables(const json& results, const StudyPlan& study) {
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
                        s["pattern"].get<std::string>(), row["label"].get<std::string>(), windows_text(s));
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

std::string csv_table(const json& results, const StudyPlan& study) {
  std::string text =
      "model,grid,criterion,pattern,repair,samples,length,seeds,sparsity,trained_tokens,seconds,peak_bytes";
  for (const Evaluation& e : study.evaluations)
    text += fmt::format(",{},{},{}", csv_text(e.name), csv_text(fmt::format("{} deviation", e.name)),
                        csv_text(fmt::format("{} gap closed", e.name)));
  for (const evaluate::ChoiceTask& task : study.tasks)
    text += fmt::format(",{},{}", csv_text(task.name + " acc"), csv_text(task.name + " acc_norm"));
  text += "\n";
  const auto size = [](const json& s, const char* key) {
    return s.contains(key) ? s[key].dump() : std::string();
  };
  for (const json& row : results["rows"]) {
    const json& s = row["settings"];
    text += fmt::format("{},{},{},{},{},{},{},{},{},{:.0f},{},{:.0f}", csv_text(s["model"]),
                        csv_text(row["grid"]), csv_text(s["criterion"]), csv_text(s["pattern"]),
                        csv_text(row["label"].get<std::string>()), size(s, "samples"), size(s, "length"),
                        row["seeds"].size(), number(row["sparsity"], 6), row["trained_tokens"].get<double>(),
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

}  // namespace freelunch::study
