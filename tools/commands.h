#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/plan/plan.h"

namespace freelunch::tools {

/// What main gives every subcommand.
struct Session {
  std::vector<std::string> arguments;  ///< as typed
  bool verbose = false;
};

/// Each adds its subcommand; the callback runs it and throws Error.
void add_compress(CLI::App& app, Session& session);
void add_plan(CLI::App& app, Session& session);
void add_reconstruct(CLI::App& app, Session& session);
void add_perplexity(CLI::App& app, Session& session);
void add_zeroshot(CLI::App& app, Session& session);
void add_generate(CLI::App& app, Session& session);
void add_study(CLI::App& app, Session& session);
void add_inspect(CLI::App& app, Session& session);
void add_convert(CLI::App& app, Session& session);

/// --threads, --device, --compute.
void add_compute_options(CLI::App& command, backend::ComputeOptions& options);

/// Runs `body` with sinks on standard error.
void with_sinks(const Session& session, const std::function<void(Sinks)>& body);

}  // namespace freelunch::tools
