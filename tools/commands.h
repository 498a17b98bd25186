#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/plan/option.h"

namespace freelunch::tools {

/// An option of a command, as `freelunch options` lists it.
struct ListedOption {
  std::string command;
  pipeline::OptionFacts facts;
  nlohmann::json initial;  ///< the default; null if there is none
};

/// State that main shares with every subcommand.
struct Session {
  std::vector<std::string> arguments;  ///< as typed
  bool verbose = false;
  std::vector<ListedOption> options = {};  ///< of all commands
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
/// Prints the completions for bash or zsh.
void add_completions(CLI::App& app, Session& session);
/// Prints the manual page.
void add_man(CLI::App& app, Session& session);
/// Hidden: prints the table of options of all commands, as docs/options.md or as JSON.
void add_options(CLI::App& app, Session& session);

/// Runs `body` with sinks on standard error.
void with_sinks(const Session& session, const std::function<void(Sinks)>& body);

/// A message of the library with its fields respelled as flags: `samples` becomes --samples.
std::string with_flags(const Session& session, std::string_view message);

}  // namespace freelunch::tools
