#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/pipeline/conversion_options.h"

namespace freelunch::tools {
namespace {

struct Conversion {
  pipeline::ConversionPlan plan;
  bool json = false;
};

void run_conversion(const Conversion& c, const Session& session) {
  const pipeline::ConversionPlan& plan = c.plan;
  with_sinks(session, [&](Sinks sinks) {
    pipeline::convert(plan, sinks);
    if (c.json)
      fmt::print("{}\n", nlohmann::json{{"output", plan.output.string()}}.dump());
    else
      fmt::print("{}\n", plan.output.string());
  });
}

}  // namespace

void add_convert(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("convert", "Save a model as a Hugging Face folder, a GGUF file or a sparse archive");
  auto conversion = std::make_shared<Conversion>();
  add_model(*command, conversion->plan.model);
  add_rows(*command, session, pipeline::conversion_options(), conversion->plan);
  command->get_option("--output")->required();
  add_switch(*command, session, "json", "Print JSON on standard output", conversion->json);
  command->callback([conversion, &session] { run_conversion(*conversion, session); });
}

}  // namespace freelunch::tools
