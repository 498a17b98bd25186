#include "freelunch/pipeline/measure.h"

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/pipeline/evaluator.h"
#include "freelunch/text/documents.h"

namespace freelunch::pipeline {
namespace {

std::vector<int64_t> tokens_of(const PerplexityPlan& plan, const evaluate::PerplexitySettings& settings,
                               const tokenizer::Tokenizer& tokenizer, LogSink& log) {
  if (plan.join == Join::kNone) return evaluation_tokens(plan.text, plan.field, settings, tokenizer, log);
  const auto documents =
      text::read_documents(plan.text, {.one_document_a_line = false, .field = plan.field}, log);
  if (documents.size() != 1) fail(ErrorKind::kInvalidArgument, "`join` wikitext needs a plain text file");
  const auto ids = tokenizer.encode(text::join_wikitext(documents[0]), /*add_special=*/true);
  return {ids.begin(), ids.end()};
}

}  // namespace

evaluate::Perplexity measure_perplexity(const PerplexityPlan& plan, Sinks sinks) {
  const backend::Compute compute = resolve(plan.compute);
  const OpenedModel opened = open_model({plan.model, plan.live}, TokenizerUse::kRequired, sinks.log);
  const bool papers = plan.protocol == evaluate::Protocol::kPapers;
  evaluate::PerplexitySettings settings{
      .protocol = plan.protocol,
      .length =
          plan.length.value_or(papers ? std::min<int64_t>(opened.model->config().max_length, 2048) : 512),
      .windows = plan.windows,
      .from_end = plan.from_end};
  const tokenizer::Tokenizer& tokenizer = opened.require_tokenizer();
  if (!papers && tokenizer.adds_bos()) settings.bos = tokenizer.bos();
  return evaluate::perplexity(model::WeightView(*opened.model),
                              tokens_of(plan, settings, tokenizer, sinks.log), settings, compute,
                              sinks.progress);
}

std::vector<ZeroShotResult> measure_zero_shot(const ZeroShotPlan& plan, Sinks sinks) {
  const backend::Compute compute = resolve(plan.compute);
  const OpenedModel opened = open_model({plan.model, plan.live}, TokenizerUse::kRequired, sinks.log);
  std::vector<evaluate::ReadExamples> read;  // all read before anything long starts
  for (const evaluate::ChoiceTask& task : plan.tasks)
    read.push_back(evaluate::read_examples(task, plan.limit, sinks.log));
  std::vector<ZeroShotResult> results;
  for (size_t i = 0; i < plan.tasks.size(); ++i) {
    evaluate::ChoiceScore score =
        evaluate::score_choices(model::WeightView(*opened.model), opened.require_tokenizer(),
                                read[i].examples, compute, sinks.progress);
    if (score.unscored > 0)
      sinks.log.log(LogLevel::kWarning,
                    fmt::format("task {}, {}; examples that cannot be scored: {} of {}", plan.tasks[i].name,
                                score.first_unscored, score.unscored, score.examples.size()));
    results.push_back(
        {.task = plan.tasks[i].name, .skipped = read[i].skipped + score.unscored, .score = std::move(score)});
  }
  return results;
}

}  // namespace freelunch::pipeline
