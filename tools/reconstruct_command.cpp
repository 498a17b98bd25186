#include <memory>

#include "plan_options.h"

namespace freelunch::tools {

void add_reconstruct(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand(
      "reconstruct", "Repair a model that any tool pruned, given the dense model; its zeros stay zeros");
  auto options = std::make_shared<PlanOptions>();
  command
      ->add_option("PRUNED", options->plan.model,
                   "The pruned model: a Hugging Face folder, a sparse archive or a .gguf file")
      ->required();
  add_plan_options(*command, *options, session, [](const pipeline::PlanOption& row) {
    return row.use != pipeline::Use::kMasks && row.use != pipeline::Use::kStructure;
  });
  command->get_option("--dense")->required();
  command->get_option("--output")->required();
  command->callback([options, &session] { run_plan(*options, session); });
}

}  // namespace freelunch::tools
