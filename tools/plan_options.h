#pragma once
#include <functional>

#include "command_options.h"
#include "freelunch/plan/options.h"

namespace freelunch::tools {

/// What compress, reconstruct and plan are asked for.
struct PlanOptions {
  pipeline::CompressPlan plan;
  bool json = false;
};

/// Adds the options of the plan for which `wanted` is true, --json and --verbose.
void add_plan_options(CLI::App& command, PlanOptions& options, Session& session,
                      const std::function<bool(const pipeline::PlanOption&)>& wanted);

/// Runs the plan and prints its table, or JSON.
void run_plan(PlanOptions& options, Session& session);

/// The command line as typed, quoted for a shell where needed.
std::string command_line(const Session& session);

}  // namespace freelunch::tools
