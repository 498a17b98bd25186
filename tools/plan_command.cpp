#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "freelunch/pipeline/planned_run.h"
#include "freelunch/plan/memory_options.h"
#include "plan_options.h"
#include "terminal.h"

namespace freelunch::tools {
namespace {

using nlohmann::json;

/// "84 MB"; "-" for 0.
std::string cell(const json& stage, const char* key) {
  const auto bytes = stage[key].get<int64_t>();
  return bytes == 0 ? "-" : pipeline::bytes_text(bytes);
}

void print_budget(const json& plan) {
  std::string repair;
  for (const json& stage : plan["repair"]) repair += (repair.empty() ? "" : ",") + stage.get<std::string>();
  fmt::print("{}: repair {}, activations {} in {}, {} threads, {}\n", plan["model"].get<std::string>(),
             repair.empty() ? "none" : repair, plan["activation_dtype"].get<std::string>(),
             plan["activations"].get<std::string>(), plan["threads"].get<int>(),
             plan["compute"].get<std::string>());
  for (const json& shape : plan.value("shapes", json::array())) {
    const auto parameters = shape["parameters"].get<double>();
    fmt::print(
        "  {}: {:.1f} M weights, {:.1f} % of the dense model; expected: decoding {:.2f} x, prompts {:.2f} "
        "x\n",
        shape["change"].get<std::string>(), parameters * 1e-6,
        100 * parameters / shape["dense_parameters"].get<double>(), shape["decode_ratio"].get<double>(),
        shape["prompt_ratio"].get<double>());
  }
  for (const json& change : plan["changes"]) fmt::print("  to fit: {}\n", change.get<std::string>());
  constexpr const char* kRow = "  {:<18} {:>9} {:>9} {:>9} {:>11} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}\n";
  fmt::print(kRow, "stage", "process", "weights", "optimiser", "activations", "statistics", "workspace",
             "peak", "disk", "TFLOP", "time");
  for (const json& s : plan["stages"]) {
    fmt::print(kRow, s["name"].get<std::string>(), cell(s, "runtime"), cell(s, "weights"),
               cell(s, "optimiser"), cell(s, "activations"), cell(s, "statistics"), cell(s, "workspace"),
               cell(s, "bytes"), cell(s, "disk"),
               fmt::format("{:.2f}", s["operations"].get<double>() * 1e-12),
               duration_text(s["seconds"].get<double>()));
  }
  fmt::print(kRow, "all", "", "", "", "", "", "", cell(plan, "peak_bytes"), cell(plan, "disk_bytes"),
             fmt::format("{:.2f}", plan["operations"].get<double>() * 1e-12),
             duration_text(plan["seconds"].get<double>()));
}

}  // namespace

void add_plan(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand(
      "plan", "Estimate the memory, disk space and time that compress or reconstruct would take");
  auto options = std::make_shared<PlanOptions>();
  add_model(*command, options->plan.model);
  add_plan_options(*command, *options, session, [](const pipeline::PlanOption&) { return true; });
  command->callback([options, &session] {
    with_sinks(session, [&](Sinks sinks) {
      const json plan = pipeline::planned_run(options->plan, sinks);
      if (options->json) {
        fmt::print("{}\n", plan.dump(2));
      } else {
        print_budget(plan);
      }
    });
  });
}

}  // namespace freelunch::tools
