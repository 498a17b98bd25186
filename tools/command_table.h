#pragma once
#include <string>
#include <vector>

#include "commands.h"

namespace freelunch::tools {

/// An option as completions and the man page need it: what CLI11 and the table of options know of it.
struct OptionRow {
  std::string flag;     ///< "--output"
  std::string letter;   ///< "-o"; empty if there is none
  std::string brief;    ///< the first clause of the help
  std::string help;     ///< as --help shows it
  std::string value;    ///< "NUMBER"; empty for a flag
  std::string initial;  ///< the default as text; empty if there is none
  std::string group;
  pipeline::ValueKind kind = pipeline::ValueKind::kFlag;
  std::vector<std::string> words = {};  ///< the values that it takes, if there are few: choices, or stages
  std::string excludes;                 ///< the flag that cannot be given with it
  bool required = false;
  bool repeats = false;  ///< may be given more than once
};

struct CommandRow {
  std::string name;
  std::string about;
  std::string argument;                ///< "MODEL"; empty if it takes none
  std::vector<std::string> arguments;  ///< what the argument may be; empty: a path
  std::string argument_about;
  std::vector<OptionRow> options;
};

/// The commands that --help lists, in its order.
std::vector<CommandRow> command_table(const CLI::App& app, const Session& session);

/// Whether the command's options are those of a CompressPlan.
bool is_plan_command(const std::string& name);

/// The shells that `freelunch completions` knows.
std::vector<std::string> shell_names();

}  // namespace freelunch::tools
