#include "freelunch/pipeline/measure.h"

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/calibration/text.h"
#include "freelunch/model_io/opened_model.h"

namespace freelunch::pipeline {
namespace {

std::vector<int64_t> tokens_of(const PerplexityPlan& plan, const tokenizer::Tokenizer& tokenizer) {
  std::vector<std::string> documents = calibration::read_documents(plan.text);
  if (plan.join == Join::kWikitext) {
    if (documents.size() != 1) fail(ErrorKind::kInvalidArgument, "`join` wikitext needs a plain text file");
    documents[0] = calibration::join_wikitext(documents[0]);
  }
  std::vector<int64_t> tokens;
  for (const std::string& document : documents) {
    // the tokenizer's own BOS rule, once: at most one BOS, at the very start
    const auto ids = tokenizer.encode(document, /*add_special=*/tokens.empty());
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }
  return tokens;
}

}  // namespace

evaluate::Perplexity measure_perplexity(const PerplexityPlan& plan, Sinks sinks) {
  const backend::Compute compute = resolve(plan.compute);
  const OpenedModel opened = open_model(plan.model, TokenizerUse::kRequired, sinks.log);
  const bool papers = plan.protocol == evaluate::Protocol::kPapers;
  evaluate::PerplexitySettings settings{
      .protocol = plan.protocol,
      .length =
          plan.length.value_or(papers ? std::min<int64_t>(opened.model->config().max_length, 2048) : 512),
      .windows = plan.windows,
      .from_end = plan.from_end};
  const tokenizer::Tokenizer& tokenizer = opened.require_tokenizer();
  if (!papers && tokenizer.adds_bos()) settings.bos = tokenizer.bos();
  return evaluate::perplexity(model::WeightView(*opened.model), tokens_of(plan, tokenizer), settings, compute,
                              sinks.progress);
}

std::vector<ZeroShotResult> measure_zero_shot(const ZeroShotPlan& plan, Sinks sinks) {
  const backend::Compute compute = resolve(plan.compute);
  const OpenedModel opened = open_model(plan.model, TokenizerUse::kRequired, sinks.log);
  std::vector<std::vector<evaluate::ChoiceExample>> examples;  // all read before anything long starts
  for (const evaluate::ChoiceTask& task : plan.tasks)
    examples.push_back(evaluate::read_examples(task, plan.limit));
  std::vector<ZeroShotResult> results;
  for (size_t i = 0; i < plan.tasks.size(); ++i) {
    results.push_back(
        {.task = plan.tasks[i].name,
         .score = evaluate::score_choices(model::WeightView(*opened.model), opened.require_tokenizer(),
                                          examples[i], compute, sinks.progress)});
    if (const std::string skipped = skipped_text(results.back().score); !skipped.empty())
      sinks.log.log(LogLevel::kWarning, fmt::format("{}: {}", plan.tasks[i].name, skipped));
  }
  return results;
}

}  // namespace freelunch::pipeline
