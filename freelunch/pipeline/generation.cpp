#include "freelunch/pipeline/generation.h"

#include "freelunch/evaluate/generation.h"
#include "freelunch/model_io/opened_model.h"

namespace freelunch::pipeline {

Generation generate_text(const GenerationPlan& plan, Sinks sinks) {
  const backend::Compute compute = resolve(plan.compute);
  const OpenedModel opened = open_model(plan.model, TokenizerUse::kRequired, sinks.log);
  const tokenizer::Tokenizer& tokenizer = opened.require_tokenizer();
  Generation result;
  const auto prompt = tokenizer.encode(plan.prompt, /*add_special=*/true);
  result.prompt.assign(prompt.begin(), prompt.end());
  evaluate::GenerationSettings settings{.tokens = plan.tokens};
  if (!plan.past_end) settings.stop = opened.model->end_tokens();
  sinks.progress.begin("generate", plan.tokens, "tokens");
  int64_t done = 0;
  const auto generated = evaluate::generate(model::WeightView(*opened.model), result.prompt, settings,
                                            compute, [&](int64_t) { sinks.progress.advance(++done, ""); });
  sinks.progress.end();
  result.tokens = generated.tokens;
  result.ending = generated.ending;
  if (result.ending == evaluate::Ending::kPositions) {
    sinks.log.log(LogLevel::kWarning,
                  fmt::format("the text ends after {} of {} tokens: the model has learned {} positions",
                              result.tokens.size(), plan.tokens, opened.model->config().max_length));
  }
  std::vector<tokenizer::TokenId> ids;
  for (const int64_t id : result.tokens) {
    // the embedding may have more rows than the vocabulary has tokens
    if (id < tokenizer.size()) ids.push_back(static_cast<tokenizer::TokenId>(id));
  }
  result.text = tokenizer.decode(ids);
  return result;
}

}  // namespace freelunch::pipeline
