#include "freelunch/evaluate/choice_score.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/base/white_space.h"
#include "freelunch/model/forward.h"

namespace freelunch::evaluate {
namespace {

using tokenizer::TokenId;

constexpr int64_t kBatchTokens = 4096;  // padded tokens a forward pass takes at once
constexpr int64_t kPassTokens = 32768;  // padded tokens that go through the blocks together
using model::kLogitRows;

/// An answer's tokens inside a sequence.
struct Branch {
  size_t example, choice;
  int64_t begin, tokens;  ///< where its tokens are in the sequence
  int64_t from;           ///< the position that predicts the first of them
};

/// A context and the answers that continue it.
struct Sequence {
  std::vector<int64_t> ids, positions;
  std::vector<Branch> branches;
  int64_t context = 0;  ///< tokens before the first branch
  int64_t length() const { return static_cast<int64_t>(ids.size()); }
};

/// Context and continuation as token ids. The two are tokenised as one text, which is split after as many
/// tokens as the context alone has. White space at the end of the context (Python's rstrip) belongs to the
/// continuation.
struct Encoded {
  std::vector<TokenId> context, continuation;
};

std::optional<TokenId> prefix_of(const tokenizer::Tokenizer& tokenizer) {
  return tokenizer.bos() ? tokenizer.bos() : tokenizer.eos();
}

/// An empty context is BOS or EOS, and the continuation gets no special tokens. If it begins with that token
/// itself, that is the context.
Encoded encode_alone(const tokenizer::Tokenizer& tokenizer, TokenId prefix, const std::string& continuation) {
  std::vector<TokenId> ids = tokenizer.encode(continuation, /*add_special=*/false);
  if (!ids.empty() && ids.front() == prefix) ids.erase(ids.begin());
  if (ids.empty()) fail(ErrorKind::kInvalidArgument, "an answer adds no token to its context");
  return {.context = {prefix}, .continuation = std::move(ids)};
}

Encoded encode_pair(const tokenizer::Tokenizer& tokenizer, std::string context, std::string continuation) {
  if (const auto prefix = prefix_of(tokenizer); context.empty() && prefix)
    return encode_alone(tokenizer, *prefix, continuation);
  const size_t kept = strip_end(context).size();
  continuation = context.substr(kept) + continuation;
  context.resize(kept);
  const std::vector<TokenId> whole = tokenizer.encode(context + continuation);
  const std::vector<TokenId> alone = tokenizer.encode(context);
  const size_t cut = std::min(alone.size(), whole.size());
  Encoded result{.context = {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(cut)},
                 .continuation = {whole.begin() + static_cast<std::ptrdiff_t>(cut), whole.end()}};
  if (result.continuation.empty())
    fail(ErrorKind::kInvalidArgument, "an answer adds no token to its context");
  if (result.context.empty()) {  // the first token needs something to be predicted from
    const auto prefix = prefix_of(tokenizer);
    if (!prefix) fail(ErrorKind::kInvalidArgument, "an empty context needs a tokenizer with BOS or EOS");
    result.context = {*prefix};
  }
  return result;
}

/// Appends an answer that continues the sequence's context.
void add_branch(Sequence& sequence, const std::vector<TokenId>& continuation, size_t example, size_t choice) {
  const auto tokens = static_cast<int64_t>(continuation.size());
  sequence.branches.push_back({.example = example,
                               .choice = choice,
                               .begin = sequence.length(),
                               .tokens = tokens,
                               .from = sequence.context - 1});
  for (int64_t i = 0; i < tokens; ++i) {
    sequence.ids.push_back(continuation[static_cast<size_t>(i)]);
    sequence.positions.push_back(sequence.context + i);
  }
}

Sequence start_sequence(const std::vector<TokenId>& context) {
  Sequence sequence{.ids = {context.begin(), context.end()}, .positions = {}, .branches = {}, .context = 0};
  sequence.positions.resize(context.size());
  std::iota(sequence.positions.begin(), sequence.positions.end(), 0);
  sequence.context = sequence.length();
  return sequence;
}

/// The sequences of an example: one for each distinct context.
std::vector<Sequence> sequences_of(const tokenizer::Tokenizer& tokenizer, const ChoiceExample& example,
                                   size_t index, int64_t max_length) {
  std::vector<Sequence> sequences;
  std::vector<TokenId> last_context;
  for (size_t choice = 0; choice < example.choices(); ++choice) {
    Encoded pair = encode_pair(tokenizer, example.context(choice), example.continuation(choice));
    const auto total = static_cast<int64_t>(pair.context.size() + pair.continuation.size());
    const int64_t surplus = total - 1 - max_length;  // the last token is predicted, not read
    if (surplus > 0) {
      if (surplus >= static_cast<int64_t>(pair.context.size()))
        fail(ErrorKind::kInvalidArgument, "an answer of {} tokens does not fit into the model's {}",
             pair.continuation.size(), max_length);
      pair.context.erase(pair.context.begin(), pair.context.begin() + surplus);
    }
    if (sequences.empty() || pair.context != last_context) {
      sequences.push_back(start_sequence(pair.context));
      last_context = pair.context;
    }
    add_branch(sequences.back(), pair.continuation, index, choice);
  }
  return sequences;
}

/// Sequences of similar length, padded at the end.
struct Batch {
  std::vector<const Sequence*> sequences;
  at::Tensor ids, positions;  // (n, l)
  std::optional<model::Forward> forward;
  at::Tensor x;  // (n, l, d), the residual stream
};

Batch make_batch(const model::Config& config, const backend::Compute& compute,
                 std::vector<const Sequence*> sequences) {
  int64_t length = 0;
  for (const Sequence* s : sequences) length = std::max(length, s->length());
  const auto n = static_cast<int64_t>(sequences.size());
  Batch batch{.sequences = std::move(sequences),
              .ids = at::zeros({n, length}, at::kLong),
              .positions = at::zeros({n, length}, at::kLong),
              .forward = {},
              .x = {}};
  at::Tensor attends =
      at::eye(length, at::kBool).unsqueeze(0).repeat({n, 1, 1});  // padding attends to itself
  for (int64_t i = 0; i < n; ++i) {
    const Sequence& s = *batch.sequences[static_cast<size_t>(i)];
    batch.ids[i].narrow(0, 0, s.length()).copy_(at::tensor(s.ids));
    batch.positions[i].narrow(0, 0, s.length()).copy_(at::tensor(s.positions));
    const auto causal = [](int64_t l) { return at::ones({l, l}, at::kBool).tril(); };
    attends[i].narrow(0, 0, s.context).narrow(1, 0, s.context).copy_(causal(s.context));
    for (const Branch& branch : s.branches) {
      at::Tensor rows = attends[i].narrow(0, branch.begin, branch.tokens);
      rows.narrow(1, 0, s.context).fill_(true);
      rows.narrow(1, branch.begin, branch.tokens).copy_(causal(branch.tokens));
    }
  }
  batch.forward.emplace(config, compute, batch.positions, attends);
  return batch;
}

/// Adds the log-likelihoods of a batch's answers to the results; hidden (n, l, d) after the final norm.
void score_batch(const Batch& batch, const at::Tensor& hidden, const model::Head& head,
                 std::vector<ChoiceResult>& results) {
  std::vector<int64_t> rows, next;
  std::vector<const Branch*> owners;
  const int64_t length = hidden.size(1);
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const Sequence& s = *batch.sequences[i];
    for (const Branch& branch : s.branches) {
      for (int64_t t = 0; t < branch.tokens; ++t) {
        const int64_t position = t == 0 ? branch.from : branch.begin + t - 1;
        rows.push_back(static_cast<int64_t>(i) * length + position);
        next.push_back(s.ids[static_cast<size_t>(branch.begin + t)]);
        owners.push_back(&branch);
      }
    }
  }
  const at::Tensor flat = hidden.flatten(0, 1);
  const auto device = hidden.device();
  for (size_t i = 0; i < rows.size(); i += kLogitRows) {
    const size_t n = std::min<size_t>(kLogitRows, rows.size() - i);
    const auto slice = [&](const std::vector<int64_t>& v) {
      return at::tensor(std::vector<int64_t>(v.begin() + static_cast<std::ptrdiff_t>(i),
                                             v.begin() + static_cast<std::ptrdiff_t>(i + n)))
          .to(device);
    };
    const at::Tensor logits = head.logits(flat.index_select(0, slice(rows)));
    const at::Tensor log_p = at::log_softmax(logits, -1, at::kFloat)
                                 .gather(1, slice(next).unsqueeze(1))
                                 .flatten()
                                 .to(at::kCPU)
                                 .contiguous();
    const float* values = log_p.const_data_ptr<float>();
    for (size_t j = 0; j < n; ++j) {
      const Branch& owner = *owners[i + j];
      results[owner.example].log_likelihoods[owner.choice] += static_cast<double>(values[j]);
    }
  }
}

/// One pass of a few batches through the blocks.
void run_pass(const model::WeightView& weights, std::vector<Batch>& batches, const model::Head& head,
              std::vector<ChoiceResult>& results) {
  const backend::Compute& compute = batches.front().forward->compute();
  for (Batch& batch : batches) batch.x = weights.embed(batch.ids, compute.device, batch.positions);
  for (int64_t b = 0; b < weights.config().blocks; ++b) {
    const model::Block block = weights.block(b, compute.device, compute.dtype);
    for (Batch& batch : batches) {
      throw_if_interrupted();
      batch.x = batch.forward->forward_block(block, batch.x);
    }
  }
  const model::Norm norm = weights.final_norm(compute.device);
  for (Batch& batch : batches) {
    score_batch(batch, norm(batch.x), head, results);
    batch.x = at::Tensor();
  }
}

int64_t argmax(const std::vector<double>& values) {
  return std::max_element(values.begin(), values.end()) - values.begin();
}

Share share_of(const std::vector<bool>& right) {
  const auto n = static_cast<double>(right.size());
  const double mean = static_cast<double>(std::count(right.begin(), right.end(), true)) / n;
  // the sample deviation of a list of zeros and ones, divided by sqrt(n)
  return {.value = mean, .error = n > 1 ? std::sqrt(mean * (1 - mean) / (n - 1)) : 0};
}

}  // namespace

ChoiceScore score_choices(const model::WeightView& weights, const tokenizer::Tokenizer& tokenizer,
                          const std::vector<ChoiceExample>& examples, const backend::Compute& compute,
                          ProgressSink& progress) {
  const at::NoGradGuard no_grad;
  std::vector<Sequence> sequences;
  ChoiceScore score;
  score.examples.resize(examples.size());
  for (size_t i = 0; i < examples.size(); ++i) {
    try {
      for (Sequence& s : sequences_of(tokenizer, examples[i], i, weights.config().max_length))
        sequences.push_back(std::move(s));
      score.examples[i].log_likelihoods.assign(examples[i].choices(), 0.0);
    } catch (const Error& error) {
      const bool odd_text =
          error.kind() == ErrorKind::kBadFile;  // with a token without a row in the embedding
      if (error.kind() != ErrorKind::kInvalidArgument && !odd_text) throw;
      if (++score.unscored == 1) score.first_unscored = fmt::format("example {}: {}", i + 1, error.what());
    }
  }
  if (sequences.empty() && score.unscored > 0)
    fail(ErrorKind::kInvalidArgument, "no example can be scored; {}", score.first_unscored);
  std::stable_sort(sequences.begin(), sequences.end(),
                   [](const Sequence& a, const Sequence& b) { return a.length() > b.length(); });
  const model::Head head = weights.head(compute);
  progress.begin("zero-shot", static_cast<int64_t>(sequences.size()), "sequences");
  for (size_t next = 0; next < sequences.size();) {
    std::vector<Batch> batches;
    int64_t planned = 0;
    while (next < sequences.size() && planned < kPassTokens) {
      // sorted: the first of a batch is its longest
      const int64_t length = sequences[next].length();
      const auto fit = static_cast<size_t>(std::max<int64_t>(1, kBatchTokens / length));
      std::vector<const Sequence*> members;
      for (; members.size() < fit && next < sequences.size(); ++next) members.push_back(&sequences[next]);
      planned += length * static_cast<int64_t>(members.size());
      batches.push_back(make_batch(weights.config(), compute, std::move(members)));
    }
    run_pass(weights, batches, head, score.examples);
    progress.advance(static_cast<int64_t>(next), "");
  }
  progress.end();
  std::vector<bool> right, right_normed;
  for (size_t i = 0; i < examples.size(); ++i) {
    ChoiceResult& result = score.examples[i];
    if (result.log_likelihoods.empty()) continue;
    std::vector<double> normed = result.log_likelihoods;
    for (size_t c = 0; c < normed.size(); ++c)
      normed[c] /= static_cast<double>(std::max<int64_t>(1, examples[i].characters[c]));
    result.best = argmax(result.log_likelihoods);
    result.best_normed = argmax(normed);
    right.push_back(result.best == examples[i].gold);
    right_normed.push_back(result.best_normed == examples[i].gold);
  }
  score.accuracy = share_of(right);
  score.accuracy_normed = share_of(right_normed);
  return score;
}

}  // namespace freelunch::evaluate
