#include <memory>

#include "plan_options.h"

namespace freelunch::tools {

void add_compress(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("compress", "Prune a model, repair it, measure it, and save it");
  auto options = std::make_shared<PlanOptions>();
  command->add_option("MODEL", options->plan.model, "A Hugging Face folder, a sparse archive or a .gguf file")
      ->required();
  add_output_options(*command, *options, session);
  add_pruning_options(*command, *options);
  add_calibration_options(*command, *options);
  add_repair_options(*command, *options);
  add_evaluation_options(*command, *options);
  add_memory_options(*command, *options);
  add_compute_options(*command, options->plan.compute);
  command->callback([options, &session] { run_plan(*options, session); });
}

}  // namespace freelunch::tools
