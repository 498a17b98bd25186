#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/pipeline/measure_options.h"

namespace freelunch::tools {
namespace {

void print_table(const std::vector<pipeline::ZeroShotResult>& results) {
  fmt::print("{:<14} {:>8}  {:>16}  {:>16}\n", "task", "examples", "acc", "acc_norm");
  double sum = 0;
  const auto cell = [](const evaluate::Share& s) {
    return fmt::format("{:6.2f} +- {:4.2f} %", 100 * s.value, 100 * s.error);
  };
  for (const pipeline::ZeroShotResult& r : results) {
    fmt::print("{:<14} {:>8}  {:>16}  {:>16}\n", r.task, pipeline::counted(r.score), cell(r.score.accuracy),
               cell(r.score.accuracy_normed));
    sum += r.score.accuracy.value;
  }
  if (results.size() > 1)
    fmt::print("{:<14} {:>8}  {:6.2f} %\n", "mean", "", 100 * sum / static_cast<double>(results.size()));
}

/// --tasks FILE or NAME=FILE, any number of them.
void add_tasks(CLI::App& command, Session& session, pipeline::ZeroShotPlan& plan) {
  static const std::string help = [] {
    std::string text =
        "Files of JSON lines, each FILE or NAME=FILE; the task of a FILE follows from its name's start: ";
    std::string_view separator;
    for (const std::string& name : evaluate::known_tasks()) {
      text += fmt::format("{}{}", separator, name);
      separator = ", ";
    }
    return text;
  }();
  const pipeline::OptionFacts facts{.name = "tasks", .help = help, .kind = pipeline::ValueKind::kTexts};
  add_option(command, session, facts, nullptr, [&plan](const nlohmann::json& tasks) {
    for (const nlohmann::json& task : tasks)
      plan.tasks.push_back(evaluate::parse_task(task.get<std::string>()));
  })->required();
}

}  // namespace

void add_zeroshot(CLI::App& app, Session& session) {
  struct Options {
    pipeline::ZeroShotPlan plan;
    bool json = false, examples = false;
  };
  CLI::App* command = app.add_subcommand("zeroshot", "Measure a model's accuracy on multiple-choice tasks");
  auto options = std::make_shared<Options>();
  add_model(*command, options->plan.model);
  add_tasks(*command, session, options->plan);
  add_rows(*command, session, pipeline::zeroshot_options(), options->plan);
  add_rows(*command, session, pipeline::machine_options(&pipeline::ZeroShotPlan::compute), options->plan);
  add_switch(*command, session, "json", "Print JSON on standard output", options->json);
  add_switch(*command, session, "examples", "With --json: print the log-likelihoods of every example too",
             options->examples);
  command->callback([options, &session] {
    with_sinks(session, [&](Sinks sinks) {
      const auto results = pipeline::measure_zero_shot(options->plan, sinks);
      if (options->json) {
        fmt::print("{}\n", to_json(results, options->examples).dump());
      } else {
        print_table(results);
      }
    });
  });
}

}  // namespace freelunch::tools
