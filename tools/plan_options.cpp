#include "plan_options.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/pipeline/compress.h"
#include "freelunch/plan/assign_options.h"

namespace freelunch::tools {
namespace {

void print_row(const std::string& name, const std::string& value) {
  fmt::print("  {:<22} {}\n", name, value);
}

void print_figure(const std::string& name, const std::optional<evaluate::Perplexity>& p) {
  if (p) print_row(name, fmt::format("{:8.3f}", p->perplexity));
}

std::string on_device(int64_t bytes) {
  return bytes == 0 ? "" : fmt::format(" + {:>8} on the device", pipeline::bytes_text(bytes));
}

double percent(int64_t part, int64_t all) {
  return 100.0 * static_cast<double>(part) / static_cast<double>(all);
}

void print_perplexity(const pipeline::CompressPlan& plan, const pipeline::RunReport& report) {
  if (!report.dense) return;
  fmt::print("Perplexity on {} ({} windows of {} = {} tokens)\n", plan.evaluation.text.filename().string(),
             report.dense->windows, report.dense->length, report.dense->tokens);
  print_figure("dense", report.dense);
  print_figure("pruned", report.pruned);
  print_figure("repaired", report.repaired);
}

void print_sparsity(const pipeline::CompressPlan& plan, const pipeline::RunReport& report) {
  if (report.dense_parameters > 0) {
    fmt::print("Size\n");
    print_row("weights", fmt::format("{} of {}, {:.2f} %", report.parameters, report.dense_parameters,
                                     percent(report.parameters, report.dense_parameters)));
    if (report.tensors.empty()) return;
  }
  int64_t elements = 0;
  for (const auto& tensor : report.tensors) elements += tensor.elements;
  fmt::print("Sparsity\n");
  print_row("pruned matrices", fmt::format("{:.4f} % zeros ({})", percent(report.zeros, elements),
                                           report.tensors.empty() ? ""
                                           : plan.dense.empty()   ? sparsity::to_string(pattern_of(plan))
                                                                  : "as in the input"));
  print_row("whole model", fmt::format("{:.2f} % of {} parameters", percent(report.zeros, report.parameters),
                                       report.parameters));
}

/// "KL 0.512", "KL 0.390 -> 0.713, undone"; empty if it was not measured.
std::string divergence_text(const pipeline::StageRecord& stage) {
  if (!stage.divergence) return "";
  const auto digits = [](double nats) { return fmt::format("{:#.3g}", nats); };
  return fmt::format("KL {}{}{}", stage.divergence_before ? digits(*stage.divergence_before) + " -> " : "",
                     digits(*stage.divergence), stage.undone ? ", undone" : "");
}

void print_stage(const pipeline::StageRecord& stage) {
  std::string row = fmt::format("{:8.1f} s   peak {:>8}{}", stage.seconds,
                                pipeline::bytes_text(stage.peak_bytes), on_device(stage.peak_device_bytes));
  for (const std::string& more : {stage.note, divergence_text(stage)}) {
    if (!more.empty()) row += "   " + more;
  }
  print_row(stage.name, row);
}

void print_table(const pipeline::CompressPlan& plan, const pipeline::RunReport& report) {
  print_perplexity(plan, report);
  print_sparsity(plan, report);
  fmt::print("Stages\n");
  for (const auto& stage : report.stages) print_stage(stage);
  print_row("all", fmt::format("{:8.1f} s   peak {:>8}{}", report.seconds,
                               pipeline::bytes_text(report.peak_bytes), on_device(report.peak_device_bytes)));
  fmt::print("Output\n");
  print_row("model", plan.output.string());
  print_row("report", (plan.output / "report.html").string());
}

}  // namespace

std::string command_line(const Session& session) {
  std::string line = "freelunch";
  for (const std::string& a : session.arguments) {
    const bool plain = !a.empty() && a.find_first_of(" \t\"'\\$`*?;&|<>()") == std::string::npos;
    line += plain ? " " + a : " '" + a + "'";
  }
  return line;
}

void add_plan_options(CLI::App& command, PlanOptions& options, Session& session,
                      const std::function<bool(const pipeline::PlanOption&)>& wanted) {
  for (const pipeline::PlanOption& row : pipeline::plan_options()) {
    if (!wanted(row)) continue;
    add_option(command, session, row, row.value(options.plan),
               [&row, &plan = options.plan](const nlohmann::json& value) {
                 check_form(row, value);
                 row.assign(plan, value);
               });
  }
  add_switch(command, session, "json", "Print the report as JSON on standard output", options.json);
  add_switch(command, session, "verbose", "Log the decisions for each tensor", session.verbose);
}

void run_plan(PlanOptions& options, Session& session) {
  options.plan.command = command_line(session);
  with_sinks(session, [&](Sinks sinks) {
    const pipeline::RunReport report = pipeline::compress(options.plan, sinks);
    if (options.json) {
      fmt::print("{}\n", report.json);
    } else {
      print_table(options.plan, report);
    }
  });
}

}  // namespace freelunch::tools
