#include <fmt/core.h>
#include <fmt/ranges.h>

#include <map>
#include <memory>

#include "command_table.h"
#include "freelunch/base/error.h"
#include "freelunch/base/version.h"

namespace freelunch::tools {
namespace {

using pipeline::ValueKind;

std::vector<std::string> flags_of(const CommandRow& command) {
  std::vector<std::string> flags;
  for (const OptionRow& option : command.options) flags.push_back(option.flag);
  return flags;
}

std::vector<std::string> names_of(const std::vector<CommandRow>& commands) {
  std::vector<std::string> names;
  for (const CommandRow& command : commands) names.push_back(command.name);
  return names;
}

// Works without the package bash-completion.
constexpr const char* kBashFunctions = R"(
_freelunch_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }
_freelunch_list() {  # elements of a list: what stands before the last comma stays
  local last=${2##*,}
  compopt -o nospace 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -W "$1" -P "${2%"$last"}" -- "$last")
}
_freelunch_paths() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -f -- "$1")
}
_freelunch() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=
  COMPREPLY=()
  ((COMP_CWORD > 1)) && command=${COMP_WORDS[1]}
  # bash takes --option=value apart at the =
  if [[ $word == = ]]; then
    word=
  elif [[ $before == = ]]; then
    before=${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $command in
)";

/// How bash completes the value of an option.
std::string bash_value(const OptionRow& option) {
  if (option.kind == ValueKind::kStages)
    return fmt::format("_freelunch_list '{}' \"$word\"", fmt::join(option.words, " "));
  if (!option.words.empty())
    return fmt::format("_freelunch_words '{}' \"$word\"", fmt::join(option.words, " "));
  const bool path = option.kind == ValueKind::kPath || option.kind == ValueKind::kTexts;
  return path ? "_freelunch_paths \"$word\"" : ":";
}

void print_bash_command(const CommandRow& command) {
  fmt::print("    {})\n      case $before in\n", command.name);
  std::map<std::string, std::vector<std::string>> by_value;
  for (const OptionRow& option : command.options) {
    if (option.kind == ValueKind::kFlag) continue;
    auto& flags = by_value[bash_value(option)];
    flags.push_back(option.flag);
    if (!option.letter.empty()) flags.push_back(option.letter);
  }
  for (const auto& [value, flags] : by_value) fmt::print("        {}) {} ;;\n", fmt::join(flags, "|"), value);
  const std::string argument = command.argument.empty()    ? ":"
                               : command.arguments.empty() ? "_freelunch_paths \"$word\""
                                                           : fmt::format("_freelunch_words '{}' \"$word\"",
                                                                         fmt::join(command.arguments, " "));
  fmt::print(
      "        *)\n          if [[ $word == -* ]]; then\n            _freelunch_words '{}' \"$word\"\n"
      "          else\n            {}\n          fi ;;\n      esac ;;\n",
      fmt::join(flags_of(command), " "), argument);
}

void print_bash(const std::vector<CommandRow>& commands) {
  fmt::print("# Completions of freelunch {} for bash, written by `freelunch completions bash`.\n{}", kVersion,
             kBashFunctions + 1);
  fmt::print("    '') _freelunch_words '{} --help --version' \"$word\" ;;\n",
             fmt::join(names_of(commands), " "));
  for (const CommandRow& command : commands) print_bash_command(command);
  fmt::print("  esac\n}}\ncomplete -F _freelunch freelunch\n");
}

/// Text within single quotes; zsh reads the characters of `special` as text.
std::string zsh_text(std::string_view text, std::string_view special) {
  std::string quoted;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) quoted += '\\';
    quoted += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return quoted;
}

/// ":NUMBER: ": what stands after an option, as _arguments reads it; empty for a flag.
std::string zsh_value(const OptionRow& option) {
  if (option.kind == ValueKind::kFlag) return "";
  std::string action = " ";
  if (option.kind == ValueKind::kStages)
    action = fmt::format("_sequence compadd - {}", fmt::join(option.words, " "));
  else if (!option.words.empty())
    action = fmt::format("({})", fmt::join(option.words, " "));
  else if (option.kind == ValueKind::kPath || option.kind == ValueKind::kTexts)
    action = "_files";
  return fmt::format(":{}:{}", zsh_text(option.value, ":\\"), action);
}

void print_zsh_option(const OptionRow& option) {
  const std::string help = fmt::format("[{}]", zsh_text(option.brief, "[]\\"));
  const std::string equals = option.kind == ValueKind::kFlag ? "" : "=";
  const std::string repeats = option.repeats ? "*" : "";
  if (!option.letter.empty())
    fmt::print("        '({0} {1})'{{{0}+,{1}{2}}}'{3}{4}' \\\n", option.letter, option.flag, equals, help,
               zsh_value(option));
  else
    fmt::print("        '{}{}{}{}{}{}' \\\n", option.excludes.empty() ? "" : "(" + option.excludes + ")",
               repeats, option.flag, equals, help, zsh_value(option));
}

void print_zsh_command(const CommandRow& command) {
  fmt::print("    {})\n      _arguments \\\n", command.name);
  for (const OptionRow& option : command.options) print_zsh_option(option);
  const std::string action =
      command.arguments.empty() ? "_files" : fmt::format("({})", fmt::join(command.arguments, " "));
  if (!command.argument.empty()) fmt::print("        '1:{}:{}' \\\n", command.argument, action);
  fmt::print("        && return\n      ;;\n");
}

void print_zsh(const std::vector<CommandRow>& commands) {
  fmt::print(
      "#compdef freelunch\n# Completions of freelunch {} for zsh, written by `freelunch completions zsh`.\n"
      "_freelunch() {{\n  local curcontext=$curcontext state line\n  local -a commands=(\n",
      kVersion);
  for (const CommandRow& command : commands)
    fmt::print("    '{}:{}'\n", command.name, zsh_text(command.about, "\\"));
  fmt::print(
      "  )\n  _arguments -C '(-)--help[Print the help]' '(-)--version[Print the version]' \\\n"
      "    '1:command:->command' '*::argument:->argument' && return\n"
      "  if [[ $state == command ]]; then\n    _describe command commands\n    return\n  fi\n"
      "  case $words[1] in\n");
  for (const CommandRow& command : commands) print_zsh_command(command);
  fmt::print(
      "  esac\n}}\n\n[[ $funcstack[1] == _freelunch ]] && _freelunch \"$@\" || compdef _freelunch "
      "freelunch\n");
}

}  // namespace

void add_completions(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand(
      "completions", "Print completions for a shell; source <(freelunch completions bash) loads them");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash or zsh")->required();
  command->callback([shell, &app, &session] {
    const std::vector<CommandRow> commands = command_table(app, session);
    if (*shell == "bash")
      print_bash(commands);
    else if (*shell == "zsh")
      print_zsh(commands);
    else
      fail(ErrorKind::kInvalidArgument, "SHELL is '{}', expected {}", *shell,
           fmt::join(shell_names(), " or "));
  });
}

}  // namespace freelunch::tools
