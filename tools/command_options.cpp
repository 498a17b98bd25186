#include "command_options.h"

#include <fmt/core.h>

#include <algorithm>

#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::tools {
namespace {

using pipeline::OptionFacts;
using pipeline::ValueKind;

std::string flag_name(std::string_view option) { return fmt::format("--{}", option); }

/// The stages, the help and what happens without the option: "solve: ... (default: ...)".
std::string help_text(const OptionFacts& option) {
  const bool names_stages = option.group == "Repair" && option.use != pipeline::Use::kEveryRun;
  std::string text = names_stages ? fmt::format("{}: ", stages_of(option.use)) : "";
  text += help_of(option);
  const bool names_all = std::all_of(
      option.choices.begin(), option.choices.end(),
      [&](std::string_view choice) { return option.help.find(choice) != std::string_view::npos; });
  if (!names_all) text += fmt::format("; {}", expected_text(option));
  if (!option.unset.empty()) text += fmt::format(" (default: {})", option.unset);
  return text;
}

std::string type_name(ValueKind kind) {
  switch (kind) {
    case ValueKind::kInteger:
      return "INT";
    case ValueKind::kNumber:
    case ValueKind::kFraction:
      return "NUMBER";
    case ValueKind::kNumbers:
      return "NUMBER,...";
    case ValueKind::kBytes:
      return "SIZE";
    case ValueKind::kWord:
      return "WORD";
    case ValueKind::kStages:
      return "STAGES";
    case ValueKind::kPath:
      return "PATH";
    default:
      return "TEXT";
  }
}

bool is_list(ValueKind kind) { return kind == ValueKind::kNumbers || kind == ValueKind::kTexts; }

}  // namespace

std::string help_of(const OptionFacts& option) {
  const std::string help(option.help);
  return option.kind == ValueKind::kStages ? help + ": " + pipeline::stage_names() : help;
}

CLI::Option* add_option(CLI::App& command, Session& session, const OptionFacts& option,
                        const nlohmann::json& initial, std::function<void(const nlohmann::json&)> set) {
  session.options.push_back({.command = command.get_name(), .facts = option, .initial = initial});
  const std::string flag = flag_name(option.name) + (option.name == "output" ? ",-o" : "");
  CLI::Option* added = nullptr;
  if (option.kind == ValueKind::kFlag) {
    added = command.add_flag_function(
        flag, [set](int64_t count) { set(count > 0); }, help_text(option));
  } else if (is_list(option.kind)) {
    added = command.add_option_function<std::vector<std::string>>(
        flag, [option, set](const std::vector<std::string>& texts) { set(read_value(option, texts)); },
        help_text(option));
  } else {
    added = command.add_option_function<std::string>(
        flag, [option, set](const std::string& text) { set(read_value(option, {text})); }, help_text(option));
  }
  if (option.kind != ValueKind::kFlag) {
    added->type_name(type_name(option.kind));
    if (const std::string text = pipeline::text_of(initial); !text.empty()) added->default_str(text);
  }
  added->group(option.group.empty() ? "Options" : std::string(option.group));
  if (!option.excludes.empty()) added->excludes(command.get_option(flag_name(option.excludes)));
  if (!option.needs.empty()) added->needs(command.get_option(flag_name(option.needs)));
  return added;
}

void add_model(CLI::App& command, std::filesystem::path& model) {
  command.add_option("MODEL", model, "A Hugging Face folder, a sparse archive or a .gguf file")->required();
}

void add_switch(CLI::App& command, Session& session, std::string_view name, std::string_view help,
                bool& value) {
  const OptionFacts facts{.name = name, .help = help, .effect = pipeline::Effect::kNone};
  add_option(command, session, facts, value, [&value](const nlohmann::json& v) { value = v.get<bool>(); });
}

std::string with_flags(const Session& session, std::string_view message) {
  return pipeline::respell_fields(message, [&](std::string_view name) -> std::optional<std::string> {
    for (const ListedOption& option : session.options) {
      if (option.facts.name == name) return flag_name(name);
    }
    return std::nullopt;
  });
}

}  // namespace freelunch::tools
