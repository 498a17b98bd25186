#include "command_table.h"

#include <fmt/core.h>

#include <algorithm>

#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::tools {
namespace {

using pipeline::ValueKind;

/// "Format of the saved model" of "Format of the saved model: hf, gguf ... or bitmask".
std::string first_clause(std::string_view help) {
  size_t end = help.size();
  for (const std::string_view stop : {"; ", ": ", ". ", " ("}) end = std::min(end, help.find(stop));
  return std::string(help.substr(0, end));
}

std::vector<std::string> words_of(const pipeline::OptionFacts& facts) {
  std::vector<std::string> words(facts.choices.begin(), facts.choices.end());
  if (facts.kind == ValueKind::kStages) {
    words = {"auto", "none"};
    for (const pipeline::StageType* type : pipeline::all_stages()) words.emplace_back(type->name);
  }
  return words;
}

OptionRow row_of(const CLI::Option& option, const std::string& command, const Session& session) {
  OptionRow row{.flag = "--" + option.get_lnames().front(),
                .letter = option.get_snames().empty() ? "" : "-" + option.get_snames().front(),
                .brief = first_clause(option.get_description()),
                .help = option.get_description(),
                .value = {},
                .initial = option.get_default_str(),
                .group = option.get_group(),
                .excludes = {},
                .required = option.get_required()};
  for (const ListedOption& listed : session.options) {
    const pipeline::OptionFacts& facts = listed.facts;
    if (listed.command != command || "--" + std::string(facts.name) != row.flag) continue;
    row.brief = first_clause(facts.help);
    row.kind = facts.kind;
    row.words = words_of(facts);
    row.repeats = facts.kind == ValueKind::kTexts || facts.kind == ValueKind::kNumbers;
    if (row.kind != ValueKind::kFlag) row.value = option.get_type_name();
    if (!facts.excludes.empty()) row.excludes = "--" + std::string(facts.excludes);
  }
  return row;
}

}  // namespace

std::vector<CommandRow> command_table(const CLI::App& app, const Session& session) {
  std::vector<CommandRow> table;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_group().empty()) continue;
    CommandRow row{.name = command->get_name(), .about = command->get_description()};
    for (const CLI::Option* option : command->get_options()) {
      if (!option->nonpositional()) {
        row.argument = option->get_name();
        row.argument_about = option->get_description();
        if (row.argument == "SHELL") row.arguments = shell_names();
      } else if (!option->get_lnames().empty()) {
        row.options.push_back(row_of(*option, row.name, session));
      }
    }
    table.push_back(std::move(row));
  }
  return table;
}

bool is_plan_command(const std::string& name) {
  return name == "compress" || name == "reconstruct" || name == "plan";
}

std::vector<std::string> shell_names() { return {"bash", "zsh"}; }

}  // namespace freelunch::tools
