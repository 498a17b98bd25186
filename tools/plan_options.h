#pragma once
#include <string>
#include <vector>

#include "commands.h"
#include "freelunch/plan/plan.h"
#include "saving_options.h"

namespace freelunch::tools {

/// A plan as it is typed: what is text on the command line becomes values once all options are known.
struct PlanOptions {
  pipeline::CompressPlan plan;
  SavingOptions saving;
  std::string sparsity = "0.5", pattern, group, repair = "auto", windows = "consecutive";
  std::string on_divergence = "stop";
  std::string allocation = "uniform", statistics = "sparse", sensitivity = "none";
  std::string loss = "relative-mse", propagation = "sparse-dense", model_loss = "kl";
  std::string activations = "auto", activation_dtype = "auto", memory_limit;
  std::vector<std::string> rules;
  int64_t evaluate_windows = 10;
  bool json = false;
};

void add_output_options(CLI::App& command, PlanOptions& options, Session& session);
void add_pruning_options(CLI::App& command, PlanOptions& options);
void add_calibration_options(CLI::App& command, PlanOptions& options);
void add_repair_options(CLI::App& command, PlanOptions& options);
/// --activations, --activation-dtype, --memory-limit.
void add_memory_options(CLI::App& command, PlanOptions& options);
void add_evaluation_options(CLI::App& command, PlanOptions& options);

/// Turns the text into values. Throws InvalidArgument.
void finish(PlanOptions& options, const Session& session);
/// Runs the plan and prints its table, or JSON.
void run_plan(PlanOptions& options, Session& session);

}  // namespace freelunch::tools
