#include <memory>

#include "plan_options.h"

namespace freelunch::tools {

void add_compress(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("compress", "Prune a model, repair it, evaluate it and save it");
  auto options = std::make_shared<PlanOptions>();
  add_model(*command, options->plan.model);
  add_plan_options(*command, *options, session,
                   [](const pipeline::PlanOption& row) { return row.name != "dense"; });
  command->get_option("--output")->required();
  command->callback([options, &session] { run_plan(*options, session); });
}

}  // namespace freelunch::tools
