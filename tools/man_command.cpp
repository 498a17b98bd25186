#include <fmt/core.h>

#include <algorithm>

#include "command_table.h"
#include "examples.h"
#include "exit_codes.h"
#include "freelunch/base/version.h"

namespace freelunch::tools {
namespace {

/// Text as roff reads it: no character of it is markup, and no line of it a request.
std::string roff(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\\')
      escaped += "\\e";
    else if (c == '-')
      escaped += "\\-";
    else if (c == '\'')
      escaped += "\\(aq";
    else if (c == '.' && (escaped.empty() || escaped.back() == '\n'))
      escaped += "\\&.";
    else
      escaped += c;
  }
  return escaped;
}

std::string bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

/// A text from the help as a sentence.
std::string sentence(const std::string& text) {
  return text.empty() || text.back() == '.' ? text : text + ".";
}

void print_option(const OptionRow& option) {
  std::string names = option.letter.empty() ? "" : bold(option.letter) + ", ";
  names += bold(option.flag);
  if (!option.value.empty()) names += " " + italic(option.value);
  std::string text = sentence(option.help);
  if (option.required) text += " Required.";
  if (!option.initial.empty()) text += " Default: " + option.initial + ".";
  fmt::print(".TP\n{}\n{}\n", names, roff(text));
}

void print_synopsis(const std::vector<CommandRow>& commands) {
  fmt::print(".SH SYNOPSIS\n");
  for (const CommandRow& command : commands) {
    std::string line = bold("freelunch " + command.name);
    if (!command.argument.empty()) line += " " + italic(command.argument);
    for (const OptionRow& option : command.options) {
      if (option.required) line += " " + bold(option.flag) + " " + italic(option.value);
    }
    fmt::print("{} [{}]\n.br\n", line, italic("option"));
  }
  fmt::print("{}\n.br\n{}\n", bold("freelunch --help"), bold("freelunch --version"));
}

void print_commands(const std::vector<CommandRow>& commands) {
  fmt::print(".SH COMMANDS\n");
  for (const CommandRow& command : commands) {
    fmt::print(".TP\n{}", bold(command.name));
    if (!command.argument.empty()) fmt::print(" {}", italic(command.argument));
    fmt::print("\n{}\n", roff(sentence(command.about)));
    if (!command.argument.empty())
      fmt::print("{}: {}\n", italic(command.argument), roff(sentence(command.argument_about)));
  }
}

/// The options of compress, reconstruct and plan by group. `plan` has all of them.
void print_plan_options(const CommandRow& plan) {
  fmt::print(
      ".SH OPTIONS OF COMPRESS, RECONSTRUCT AND PLAN\n{} is of {} and {}; {} has no options for choosing "
      "masks.\n",
      bold("--dense"), bold("reconstruct"), bold("plan"), bold("reconstruct"));
  std::vector<std::string> groups;
  for (const OptionRow& option : plan.options) {
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end()) groups.push_back(option.group);
  }
  // --help comes first in CLI11's list, and its group with it
  std::stable_partition(groups.begin(), groups.end(),
                        [](const std::string& group) { return group != "Options"; });
  for (const std::string& group : groups) {
    fmt::print(".SS {}\n", roff(group == "Options" ? "Terminal" : group));
    for (const OptionRow& option : plan.options) {
      if (option.group == group) print_option(option);
    }
  }
}

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

void print_examples(const std::vector<CommandRow>& commands) {
  fmt::print(".SH EXAMPLES\n.nf\n");
  for (const CommandRow& command : commands) {
    std::string lines = examples_of(command.name);
    // an indented line would be set as it is, but the indentation is of --help
    for (size_t at = lines.find("  freelunch"); at != std::string::npos; at = lines.find("  freelunch"))
      lines.erase(at, 2);
    fmt::print("{}", roff(lines));
  }
  fmt::print(".fi\n");
}

void print_man(const std::vector<CommandRow>& commands) {
  // No date: the same version gives the same page.
  fmt::print(
      ".\\\" Written by `freelunch man`.\n.TH FREELUNCH 1 \"\" \"freelunch {}\" \"freelunch\"\n.SH NAME\n"
      "freelunch \\- prune large language models and repair the weights that remain\n",
      kVersion);
  print_synopsis(commands);
  fmt::print(".SH DESCRIPTION\n{}\n", roff("freelunch sets weights of a model to zero, or cuts out channels, "
                                           "heads, experts or blocks, and then fits "
                                           "the remaining weights, one small region at a time, so that the "
                                           "output of the region matches that of the "
                                           "dense model. A model is a Hugging Face folder, a GGUF file or a "
                                           "sparse archive. Results go to standard "
                                           "output, progress and errors to standard error. An interrupted "
                                           "run resumes when the same command runs again."));
  print_commands(commands);
  for (const CommandRow& command : commands) {
    if (command.name == "plan") print_plan_options(command);
  }
  for (const CommandRow& command : commands) {
    if (is_plan_command(command.name)) continue;
    fmt::print(".SH OPTIONS OF {}\n", roff(upper(command.name)));
    for (const OptionRow& option : command.options) print_option(option);
  }
  print_examples(commands);
  fmt::print(".SH EXIT STATUS\n");
  for (const auto& [code, meaning] : kExitCodes)
    fmt::print(".TP\n{}\n{}\n", bold(std::to_string(code)), roff(sentence(meaning)));
}

}  // namespace

void add_man(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("man", "Print the manual page; freelunch man | man -l - shows it");
  command->callback([&app, &session] { print_man(command_table(app, session)); });
}

}  // namespace freelunch::tools
