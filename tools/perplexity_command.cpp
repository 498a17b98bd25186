#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/pipeline/measure.h"

namespace freelunch::tools {
namespace {

using pipeline::Join;
using pipeline::PerplexityPlan;
using pipeline::Use;

constexpr EnumNames<Join, 2> kJoinNames{{{Join::kNone, "none"}, {Join::kWikitext, "wikitext"}}};

pipeline::Option<PerplexityPlan> windows_option() {
  auto row = pipeline::Rows<PerplexityPlan>::number("windows", "Number of windows of the text to use; 0: all",
                                                    Use::kEveryRun, pipeline::from_to(0, 1 << 30),
                                                    pipeline::field(&PerplexityPlan::windows));
  row.assign = [](PerplexityPlan& plan, const nlohmann::json& v) {
    const auto count = v.get<int64_t>();
    plan.windows = count > 0 ? std::optional(count) : std::nullopt;
  };
  row.value = [](const PerplexityPlan& plan) { return plan.windows.value_or(0); };
  return row;
}

std::vector<pipeline::Option<PerplexityPlan>> perplexity_options() {
  using R = pipeline::Rows<PerplexityPlan>;
  return {R::path("text", "Plain text, JSON lines or a JSON array, perhaps compressed", Use::kEveryRun,
                  pipeline::field(&PerplexityPlan::text)),
          R::text("field", "Field of a JSON text that holds the text", Use::kEveryRun,
                  pipeline::field(&PerplexityPlan::field)),
          R::number("length", "Tokens per window", Use::kEveryRun, pipeline::from_to(2, 1 << 24),
                    pipeline::field(&PerplexityPlan::length))
              .without_it("the model's maximum, at most 2048; 512 with protocol llama.cpp"),
          windows_option(),
          R::flag("from-end", "Use the last windows of the text instead of the first", Use::kEveryRun,
                  pipeline::field(&PerplexityPlan::from_end)),
          R::word("protocol", "How the text is split into windows and which tokens are scored",
                  Use::kEveryRun, evaluate::kProtocolNames, pipeline::field(&PerplexityPlan::protocol)),
          R::word("join", "wikitext: join the rows of a WikiText file as published figures do",
                  Use::kEveryRun, kJoinNames, pipeline::field(&PerplexityPlan::join))};
}

void print_perplexity(const evaluate::Perplexity& p, evaluate::Protocol protocol, bool as_json) {
  const std::string_view name = name_in(evaluate::kProtocolNames, protocol);
  if (as_json) {
    const nlohmann::json json{{"perplexity", p.perplexity},
                              {"tokens", p.tokens},
                              {"windows", p.windows},
                              {"length", p.length},
                              {"protocol", name}};
    fmt::print("{}\n", json.dump());
  } else {
    fmt::print("perplexity {:.3f}  ({} windows of {} = {} tokens, protocol {})\n", p.perplexity, p.windows,
               p.length, p.tokens, name);
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
  add_rows(*command, session, perplexity_options(), options->plan);
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
