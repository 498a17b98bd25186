#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "freelunch/base/error.h"
#include "freelunch/study/results.h"
#include "freelunch/study/runner.h"

namespace freelunch::tools {

void add_study(CLI::App& app, Session& session) {
  struct Options {
    std::filesystem::path file, output;
    backend::ComputeOptions compute;
    bool json = false, list = false;
  };
  CLI::App* command = app.add_subcommand(
      "study", "Run a grid of settings; a rerun does what is missing; ends with tables and plots");
  auto options = std::make_shared<Options>();
  command->add_option("STUDY", options->file, "A .toml or .json file (docs/methods/study.md)")->required();
  command->add_option("--output,-o", options->output, "Folder of the study; may hold a part of it already")
      ->required();
  command->add_flag("--list", options->list, "Print the cells that there are, and stop");
  command->add_flag("--json", options->json, "Print the results as JSON on standard output");
  add_compute_options(*command, options->compute);
  command->callback([options, &session] {
    const study::StudyPlan plan = study::read_study(options->file, options->compute);
    if (options->list) {
      for (const study::Cell& cell : plan.cells) fmt::print("{}\n", cell.id);
      return;
    }
    with_sinks(session, [&](Sinks sinks) {
      const study::StudyOutcome outcome = study::run_study(plan, options->output, sinks);
      if (options->json) {
        fmt::print("{}\n", study::collect_results(plan, options->output).dump());
      } else {
        fmt::print("{} cells: {} run now, {} of them failed\n{}\n", outcome.cells, outcome.run,
                   outcome.failed, (options->output / "study.html").string());
      }
      if (outcome.failed > 0)
        fail(ErrorKind::kNumerical,
             "{} cells failed; their files in '{}' say why, and a rerun tries them again", outcome.failed,
             (options->output / "cells").string());
    });
  });
}

}  // namespace freelunch::tools
