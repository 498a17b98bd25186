#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "freelunch/pipeline/measure.h"

namespace freelunch::tools {
namespace {

nlohmann::json share(const evaluate::Share& s) { return {{"value", s.value}, {"stderr", s.error}}; }

nlohmann::json to_json(const std::vector<pipeline::ZeroShotResult>& results, bool examples) {
  nlohmann::json tasks = nlohmann::json::array();
  for (const pipeline::ZeroShotResult& r : results) {
    nlohmann::json task{{"task", r.task},
                        {"examples", r.score.examples.size()},
                        {"acc", share(r.score.accuracy)},
                        {"acc_norm", share(r.score.accuracy_normed)}};
    if (examples) {
      for (const evaluate::ChoiceResult& e : r.score.examples)
        task["scored"].push_back(
            {{"log_likelihoods", e.log_likelihoods}, {"best", e.best}, {"best_norm", e.best_normed}});
    }
    tasks.push_back(task);
  }
  return {{"tasks", tasks}};
}

void print_table(const std::vector<pipeline::ZeroShotResult>& results) {
  fmt::print("{:<14} {:>8}  {:>16}  {:>16}\n", "task", "examples", "acc", "acc_norm");
  double sum = 0;
  const auto cell = [](const evaluate::Share& s) {
    return fmt::format("{:6.2f} +- {:4.2f} %", 100 * s.value, 100 * s.error);
  };
  for (const pipeline::ZeroShotResult& r : results) {
    fmt::print("{:<14} {:>8}  {:>16}  {:>16}\n", r.task, r.score.examples.size(), cell(r.score.accuracy),
               cell(r.score.accuracy_normed));
    sum += r.score.accuracy.value;
  }
  if (results.size() > 1)
    fmt::print("{:<14} {:>8}  {:6.2f} %\n", "mean", "", 100 * sum / static_cast<double>(results.size()));
}

}  // namespace

void add_zeroshot(CLI::App& app, Session& session) {
  struct Options {
    pipeline::ZeroShotPlan plan;
    std::vector<std::string> tasks;
    bool json = false, examples = false;
  };
  CLI::App* command = app.add_subcommand("zeroshot", "Measure a model's accuracy on multiple-choice tasks");
  auto options = std::make_shared<Options>();
  std::string known;
  for (const std::string& name : evaluate::known_tasks()) known += (known.empty() ? "" : ", ") + name;
  command->add_option("MODEL", options->plan.model, "A Hugging Face folder, a sparse archive or a .gguf file")
      ->required();
  command
      ->add_option("--tasks", options->tasks,
                   "JSONL files, each FILE or NAME=FILE; a FILE is known by how its name begins: " + known)
      ->required();
  command->add_option("--limit", options->plan.limit, "First examples of each task to use")
      ->check(CLI::Range(1, 1 << 30));
  command->add_flag("--json", options->json, "Print JSON on standard output");
  command->add_flag("--examples", options->examples, "With --json: every example's log-likelihoods too");
  add_compute_options(*command, options->plan.compute);
  command->callback([options, &session] {
    for (const std::string& task : options->tasks) options->plan.tasks.push_back(evaluate::parse_task(task));
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
