#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "freelunch/base/utf8.h"
#include "freelunch/pipeline/generation.h"

namespace freelunch::tools {

void add_generate(CLI::App& app, Session& session) {
  struct Options {
    pipeline::GenerationPlan plan;
    bool json = false;
  };
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt, always by the likeliest token");
  auto options = std::make_shared<Options>();
  pipeline::GenerationPlan& plan = options->plan;
  command->add_option("MODEL", plan.model, "A Hugging Face folder, a sparse archive or a .gguf file")
      ->required();
  command->add_option("--prompt", plan.prompt, "Text to continue")->required();
  command->add_option("--tokens", plan.tokens, "Tokens to add, at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_flag("--past-end", plan.past_end, "Go on after the token that ends a text");
  command->add_flag("--json", options->json, "Print JSON on standard output");
  add_compute_options(*command, plan.compute);
  command->callback([options, &session] {
    with_sinks(session, [&](Sinks sinks) {
      const pipeline::Generation g = pipeline::generate_text(options->plan, sinks);
      if (options->json) {
        const nlohmann::json json{{"prompt", g.prompt}, {"tokens", g.tokens}, {"text", g.text}};
        fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      } else {
        fmt::print("{}\n", replace_invalid_utf8(options->plan.prompt + g.text));
      }
    });
  });
}

}  // namespace freelunch::tools
