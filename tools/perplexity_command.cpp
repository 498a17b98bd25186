#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/pipeline/measure_options.h"

namespace freelunch::tools {
namespace {

using pipeline::PerplexityPlan;

void print_perplexity(const evaluate::Perplexity& p, evaluate::Protocol protocol, bool as_json) {
  if (as_json) {
    fmt::print("{}\n", pipeline::to_json(p, protocol).dump());
  } else {
    fmt::print("perplexity {:.3f}  ({} windows of {} = {} tokens, protocol {})\n", p.perplexity, p.windows,
               p.length, p.tokens, name_in(evaluate::kProtocolNames, protocol));
  }
}

}  // namespace

void add_perplexity(CLI::App& app, Session& session) {
  struct Options {
    PerplexityPlan plan;
    bool json = false;
  };
  CLI::App* command = app.add_subcommand("perplexity", "Measure a model's perplexity on a text");
  auto options = std::make_shared<Options>();
  add_model(*command, options->plan.model);
  add_rows(*command, session, pipeline::perplexity_options(), options->plan);
  add_rows(*command, session, pipeline::machine_options(&PerplexityPlan::compute), options->plan);
  command->get_option("--text")->required();
  add_switch(*command, session, "json", "Print JSON on standard output", options->json);
  command->callback([options, &session] {
    with_sinks(session, [&](Sinks sinks) {
      print_perplexity(pipeline::measure_perplexity(options->plan, sinks), options->plan.protocol,
                       options->json);
    });
  });
}

}  // namespace freelunch::tools
