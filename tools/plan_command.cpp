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

/// "0", "84 MB".
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
      "plan", "Say what compress would hold in memory and on disk and how long it would take");
  auto options = std::make_shared<PlanOptions>();
  command->add_option("MODEL", options->plan.model, "A Hugging Face folder or a .gguf file")->required();
  command->add_option("--dense", options->plan.dense,
                      "Where MODEL came pruned: the model it was pruned from");
  add_output_options(*command, *options, session);
  command->get_option("--output")->required(false);
  add_pruning_options(*command, *options);
  add_calibration_options(*command, *options);
  add_repair_options(*command, *options);
  add_memory_options(*command, *options);
  add_evaluation_options(*command, *options);
  add_compute_options(*command, options->plan.compute);
  command->callback([options, &session] {
    finish(*options, session);
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
