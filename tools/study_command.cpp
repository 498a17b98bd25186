#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/base/error.h"
#include "freelunch/study/results.h"
#include "freelunch/study/runner.h"

namespace freelunch::tools {

namespace {

struct StudyOptions {
  std::filesystem::path file, output;
  backend::ComputeOptions compute;
  bool json = false, list = false;
};

void run(const StudyOptions& options, const Session& session) {
  const study::StudyPlan plan = study::read_study(options.file, options.compute);
  if (options.list) {
    for (const study::Cell& cell : plan.cells) fmt::print("{}\n", cell.id);
    return;
  }
  with_sinks(session, [&](Sinks sinks) {
    const study::StudyOutcome outcome = study::run_study(plan, options.output, sinks);
    if (options.json) {
      fmt::print("{}\n", study::collect_results(plan, options.output).dump());
    } else {
      fmt::print("{} cells: {} run now, {} of them failed\n{}\n", outcome.cells, outcome.run, outcome.failed,
                 (options.output / "study.html").string());
    }
    if (outcome.failed > 0)
      fail(ErrorKind::kNumerical,
           "{} cells failed; their files in '{}' say why, and a rerun tries them again", outcome.failed,
           (options.output / "cells").string());
  });
}

}  // namespace

void add_study(CLI::App& app, Session& session) {
  using R = pipeline::Rows<StudyOptions>;
  CLI::App* command = app.add_subcommand(
      "study", "Run a grid of settings and write tables and plots; a rerun completes what is missing");
  auto options = std::make_shared<StudyOptions>();
  command->add_option("STUDY", options->file, "A .toml or .json file (docs/methods/study.md)")->required();
  add_rows(*command, session,
           {R::path("output", "Folder of the study; may hold finished cells", pipeline::Use::kEveryRun,
                    pipeline::field(&StudyOptions::output))},
           *options);
  command->get_option("--output")->required();
  add_rows(*command, session, pipeline::machine_options(&StudyOptions::compute), *options);
  add_switch(*command, session, "list", "List the cells and exit", options->list);
  add_switch(*command, session, "json", "Print the results as JSON on standard output", options->json);
  command->callback([options, &session] { run(*options, session); });
}

}  // namespace freelunch::tools
