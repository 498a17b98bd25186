#pragma once
#include <filesystem>

#include "commands.h"
#include "freelunch/plan/options.h"

namespace freelunch::tools {

/// Adds the flag of an option; `set` gets its value, checked. initial: the default, null if there is none.
CLI::Option* add_option(CLI::App& command, Session& session, const pipeline::OptionFacts& option,
                        const nlohmann::json& initial, std::function<void(const nlohmann::json&)> set);

/// The help of an option; that of --repair lists the stages.
std::string help_of(const pipeline::OptionFacts& option);

/// The positional argument of a model.
void add_model(CLI::App& command, std::filesystem::path& model);

/// A flag that sets nothing in a plan, such as --json.
void add_switch(CLI::App& command, Session& session, std::string_view name, std::string_view help,
                bool& value);

/// Adds the flags of all rows. The plan must live as long as the command.
template <typename Plan>
void add_rows(CLI::App& command, Session& session, const std::vector<pipeline::Option<Plan>>& rows,
              Plan& plan) {
  for (const auto& row : rows) {
    add_option(command, session, row, row.value(plan),
               [row, &plan](const nlohmann::json& value) { row.assign(plan, value); });
  }
}

}  // namespace freelunch::tools
