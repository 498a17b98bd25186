#include <memory>

#include "plan_options.h"

namespace freelunch::tools {

void add_reconstruct(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand(
      "reconstruct", "Repair a model that any tool pruned, towards its dense original, keeping its zeros");
  auto options = std::make_shared<PlanOptions>();
  command
      ->add_option(
          "PRUNED", options->plan.model,
          "The pruned model: a Hugging Face folder, a sparse archive or a .gguf file; its zeros stay zeros")
      ->required();
  command->add_option("--dense", options->plan.dense, "The model it was pruned from")->required();
  add_output_options(*command, *options, session);
  add_calibration_options(*command, *options);
  command
      ->add_option("--statistics", options->statistics,
                   "Statistics for solve from the sparse (repaired so far) or the dense stream")
      ->capture_default_str()
      ->group("Repair");
  add_repair_options(*command, *options);
  add_evaluation_options(*command, *options);
  add_memory_options(*command, *options);
  add_compute_options(*command, options->plan.compute);
  command->callback([options, &session] { run_plan(*options, session); });
}

}  // namespace freelunch::tools
