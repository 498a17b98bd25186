#include "freelunch/pipeline/measure_options.h"

#include <nlohmann/json.hpp>

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

constexpr EnumNames<Join, 2> kJoinNames{{{Join::kNone, "none"}, {Join::kWikitext, "wikitext"}}};

Option<PerplexityPlan> windows_option() {
  auto row =
      Rows<PerplexityPlan>::number("windows", "Number of windows of the text to use; 0: all", Use::kEveryRun,
                                   from_to(0, 1 << 30), field(&PerplexityPlan::windows));
  row.assign = [](PerplexityPlan& plan, const json& v) {
    const auto count = v.get<int64_t>();
    plan.windows = count > 0 ? std::optional(count) : std::nullopt;
  };
  row.value = [](const PerplexityPlan& plan) { return plan.windows.value_or(0); };
  return row;
}

json share(const evaluate::Share& s) { return {{"value", s.value}, {"stderr", s.error}}; }

}  // namespace

std::vector<Option<PerplexityPlan>> perplexity_options() {
  using R = Rows<PerplexityPlan>;
  return {R::path("text", "Plain text, JSON lines or a JSON array, perhaps compressed", Use::kEveryRun,
                  field(&PerplexityPlan::text)),
          R::text("field", "Field of a JSON text that holds the text", Use::kEveryRun,
                  field(&PerplexityPlan::field)),
          R::number("length", "Tokens per window", Use::kEveryRun, from_to(2, 1 << 24),
                    field(&PerplexityPlan::length))
              .without_it("the model's maximum, at most 2048; 512 with protocol llama.cpp"),
          windows_option(),
          R::flag("from-end", "Use the last windows of the text instead of the first", Use::kEveryRun,
                  field(&PerplexityPlan::from_end)),
          R::word("protocol", "How the text is split into windows and which tokens are scored",
                  Use::kEveryRun, evaluate::kProtocolNames, field(&PerplexityPlan::protocol)),
          R::word("join", "wikitext: join the rows of a WikiText file as published figures do",
                  Use::kEveryRun, kJoinNames, field(&PerplexityPlan::join))};
}

std::vector<Option<ZeroShotPlan>> zeroshot_options() {
  using R = Rows<ZeroShotPlan>;
  return {R::number("limit", "Number of examples of each task to use, from the first", Use::kEveryRun,
                    from_to(1, 1 << 30), field(&ZeroShotPlan::limit))
              .without_it("all")};
}

json to_json(const evaluate::Perplexity& p, evaluate::Protocol protocol) {
  return {{"perplexity", p.perplexity},
          {"tokens", p.tokens},
          {"windows", p.windows},
          {"length", p.length},
          {"protocol", name_in(evaluate::kProtocolNames, protocol)}};
}

int64_t counted(const evaluate::ChoiceScore& score) {
  return static_cast<int64_t>(score.examples.size()) - score.unscored;
}

json to_json(const std::vector<ZeroShotResult>& results, bool examples) {
  json tasks = json::array();
  for (const ZeroShotResult& r : results) {
    json task{{"task", r.task},
              {"examples", counted(r.score)},
              {"skipped", r.skipped},
              {"acc", share(r.score.accuracy)},
              {"acc_norm", share(r.score.accuracy_normed)}};
    if (examples) {
      for (const evaluate::ChoiceResult& e : r.score.examples)
        task["scored"].push_back(
            {{"log_likelihoods", e.log_likelihoods}, {"best", e.best}, {"best_norm", e.best_normed}});
    }
    tasks.push_back(task);
  }
  return {{"tasks", tasks}};
}

}  // namespace freelunch::pipeline
