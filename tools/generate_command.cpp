#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/base/utf8.h"
#include "freelunch/pipeline/generation.h"

namespace freelunch::tools {
namespace {

using pipeline::GenerationPlan;

std::vector<pipeline::Option<GenerationPlan>> generation_options() {
  using R = pipeline::Rows<GenerationPlan>;
  using pipeline::Use;
  return {R::text("prompt", "Text to continue", Use::kEveryRun, pipeline::field(&GenerationPlan::prompt)),
          R::number("tokens", "Largest number of tokens to add", Use::kEveryRun,
                    pipeline::from_to(1, 1 << 20), pipeline::field(&GenerationPlan::tokens)),
          R::flag("past-end", "Do not stop at the end-of-text token", Use::kEveryRun,
                  pipeline::field(&GenerationPlan::past_end))};
}

}  // namespace

void add_generate(CLI::App& app, Session& session) {
  struct Options {
    GenerationPlan plan;
    bool json = false;
  };
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt by greedy decoding");
  auto options = std::make_shared<Options>();
  add_model(*command, options->plan.model);
  add_rows(*command, session, generation_options(), options->plan);
  add_rows(*command, session, pipeline::machine_options(&GenerationPlan::compute), options->plan);
  command->get_option("--prompt")->required();
  add_switch(*command, session, "json", "Print JSON on standard output", options->json);
  command->callback([options, &session] {
    with_sinks(session, [&](Sinks sinks) {
      const pipeline::Generation g = pipeline::generate_text(options->plan, sinks);
      if (options->json) {
        const nlohmann::json json{{"prompt", g.prompt},
                                  {"tokens", g.tokens},
                                  {"text", g.text},
                                  {"ending", name_in(evaluate::kEndingNames, g.ending)}};
        fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      } else {
        fmt::print("{}\n", replace_invalid_utf8(options->plan.prompt + g.text));
      }
    });
  });
}

}  // namespace freelunch::tools
