#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "freelunch/pipeline/measure.h"

namespace freelunch::tools {

void add_perplexity(CLI::App& app, Session& session) {
  struct Options {
    pipeline::PerplexityPlan plan;
    std::string protocol = "papers", join;
    bool json = false;
  };
  CLI::App* command = app.add_subcommand("perplexity", "Measure a model's perplexity on a text");
  auto options = std::make_shared<Options>();
  pipeline::PerplexityPlan& plan = options->plan;
  command->add_option("MODEL", plan.model, "A Hugging Face folder, a sparse archive or a .gguf file")
      ->required();
  command->add_option("--text", plan.text, "Plain text, .jsonl or .jsonl.gz with a \"text\" field")
      ->required();
  command
      ->add_option("--length", plan.length,
                   "Tokens a window; the model's maximum, at most 2048, unless given")
      ->check(CLI::Range(2, 1 << 24));
  command->add_option("--windows", plan.windows, "Windows to use; all unless given")
      ->check(CLI::Range(1, 1 << 30));
  command->add_flag("--from-end", plan.from_end, "Use the last windows of the text instead of the first");
  command->add_option("--protocol", options->protocol, "papers or llama.cpp")->capture_default_str();
  command
      ->add_option("--join", options->join,
                   "wikitext: rows put together as published figures do; other files are read as they are")
      ->check(CLI::IsMember({"wikitext"}));
  command->add_flag("--json", options->json, "Print JSON on standard output");
  add_compute_options(*command, plan.compute);
  command->callback([options, &session] {
    options->plan.protocol = evaluate::parse_protocol(options->protocol);
    if (options->join == "wikitext") options->plan.join = pipeline::Join::kWikitext;
    with_sinks(session, [&](Sinks sinks) {
      const evaluate::Perplexity p = pipeline::measure_perplexity(options->plan, sinks);
      if (options->json) {
        const nlohmann::json json{{"perplexity", p.perplexity},
                                  {"tokens", p.tokens},
                                  {"windows", p.windows},
                                  {"length", p.length},
                                  {"protocol", options->protocol}};
        fmt::print("{}\n", json.dump());
      } else {
        fmt::print("perplexity {:.3f}  ({} windows of {} = {} tokens, protocol {})\n", p.perplexity,
                   p.windows, p.length, p.tokens, options->protocol);
      }
    });
  });
}

}  // namespace freelunch::tools
