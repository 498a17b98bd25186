#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "command_table.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/study/study_plan.h"

namespace freelunch::tools {
namespace {

using nlohmann::json;
using pipeline::Effect;
using pipeline::OptionFacts;
using pipeline::Use;
using pipeline::ValueKind;

constexpr EnumNames<ValueKind, 11> kKinds{{{ValueKind::kFlag, "flag"},
                                           {ValueKind::kInteger, "integer"},
                                           {ValueKind::kNumber, "number"},
                                           {ValueKind::kNumbers, "numbers"},
                                           {ValueKind::kFraction, "fraction"},
                                           {ValueKind::kBytes, "bytes"},
                                           {ValueKind::kWord, "word"},
                                           {ValueKind::kText, "text"},
                                           {ValueKind::kTexts, "texts"},
                                           {ValueKind::kStages, "stages"},
                                           {ValueKind::kPath, "path"}}};

json to_json(const ListedOption& option) {
  const OptionFacts& facts = option.facts;
  json object{{"name", facts.name},
              {"kind", name_in(kKinds, facts.kind)},
              {"default", option.initial},
              {"expected", expected_text(facts)},
              {"group", facts.group},
              {"stages", stages_of(facts.use)},
              {"changes_result", facts.effect == Effect::kResult || facts.effect == Effect::kInput},
              {"help", help_of(facts)}};
  if (facts.range)
    object["range"] = {{"least", facts.range->least},
                       {"most", facts.range->most},
                       {"least_excluded", facts.range->least_excluded},
                       {"most_excluded", facts.range->most_excluded}};
  if (!facts.choices.empty()) object["choices"] = facts.choices;
  if (!facts.needs.empty()) object["needs"] = facts.needs;
  return object;
}

/// {"compress": [option, ...], ...}; of an option of a plan also whether a study's grid may vary it.
json all_as_json(const Session& session) {
  json commands = json::object();
  for (const ListedOption& option : session.options) {
    json object = to_json(option);
    object["in_study"] = is_plan_command(option.command) && study::varies_in_study(option.facts);
    commands[option.command].push_back(object);
  }
  return commands;
}

std::string cell(std::string text) {
  for (size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2))
    text.insert(at, 1, '\\');
  return text;
}

std::string default_text(const ListedOption& option) {
  if (option.facts.kind == ValueKind::kFlag) return "off";
  const std::string text = pipeline::text_of(option.initial);
  if (!text.empty()) return "`" + text + "`";
  return option.facts.unset.empty() ? "none" : std::string(option.facts.unset);
}

std::string value_text(const OptionFacts& option) {
  return option.kind == ValueKind::kFlag ? "flag" : expected_text(option);
}

void print_table(const std::vector<const ListedOption*>& options) {
  fmt::print(
      "| option | value | default | stages | changes the result | meaning |\n|---|---|---|---|---|---|\n");
  for (const ListedOption* option : options) {
    const OptionFacts& facts = option->facts;
    const bool result = facts.effect == Effect::kResult || facts.effect == Effect::kInput;
    fmt::print("| `--{}` | {} | {} | {} | {} | {} |\n", facts.name, cell(value_text(facts)),
               cell(default_text(*option)), facts.use == Use::kEveryRun ? "all" : stages_of(facts.use),
               result ? "yes" : "no", cell(help_of(facts)));
  }
  fmt::print("\n");
}

std::vector<const ListedOption*> options_of(const Session& session, const std::string& command) {
  std::vector<const ListedOption*> options;
  for (const ListedOption& option : session.options) {
    if (option.command == command) options.push_back(&option);
  }
  return options;
}

/// The options of compress, reconstruct and plan, a table for each group. `plan` has all of them.
void print_plan_options(const Session& session) {
  const auto all = options_of(session, "plan");
  std::vector<std::string_view> groups;
  for (const ListedOption* option : all) {
    if (std::find(groups.begin(), groups.end(), option->facts.group) == groups.end())
      groups.push_back(option->facts.group);
  }
  fmt::print(
      "## compress, reconstruct, plan\n\n`--dense` belongs to `reconstruct` and `plan`. `reconstruct` has no "
      "options for choosing masks.\n\n");
  for (const std::string_view group : groups) {
    std::vector<const ListedOption*> members;
    for (const ListedOption* option : all) {
      if (option->facts.group == group) members.push_back(option);
    }
    fmt::print("### {}\n\n", group.empty() ? "Terminal" : group);
    print_table(members);
  }
}

void print_markdown(const Session& session) {
  fmt::print(
      "# Options\n\nGenerated by `freelunch options --markdown`; do not edit.\n\n"
      "Errors name an option by its flag; C++ and freelunch.json name it without the dashes, and study files "
      "write _ for -. \"Stages\" are the stages of a repair, or the parts of a run, that an option applies "
      "to. "
      "An option that \"changes the result\" changes the weights or the figures that a run writes; an "
      "unfinished run can be resumed only if all of these are the same.\n\n");
  print_plan_options(session);
  std::vector<std::string> done;
  for (const ListedOption& option : session.options) {
    const bool again = std::find(done.begin(), done.end(), option.command) != done.end();
    if (is_plan_command(option.command) || option.command == "options" || again) continue;
    done.push_back(option.command);
    fmt::print("## {}\n\n", option.command);
    print_table(options_of(session, option.command));
  }
}

}  // namespace

void add_options(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("options", "Print the table of all options")->group("");
  struct Wanted {
    bool json = false, markdown = false;
  };
  auto wanted = std::make_shared<Wanted>();
  add_switch(*command, session, "json", "Print JSON on standard output", wanted->json);
  add_switch(*command, session, "markdown", "Print docs/options.md", wanted->markdown);
  command->callback([wanted, &session] {
    if (wanted->json)
      fmt::print("{}\n", all_as_json(session).dump(1));
    else
      print_markdown(session);
  });
}

}  // namespace freelunch::tools
