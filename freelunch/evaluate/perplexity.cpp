#include "freelunch/evaluate/perplexity.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/evaluate/final_stream.h"
#include "freelunch/kernels/token_loss.h"

namespace freelunch::evaluate {
namespace {

using model::kLogitRows;

/// The first scored token of a window. Tokens first .. length-1 are scored, each predicted by the position
/// before it.
int64_t first_scored(const PerplexitySettings& settings) {
  return settings.protocol == Protocol::kPapers ? 1 : settings.length / 2 + 1;
}

/// tokens -> (windows, length) int64; the tail is dropped.
at::Tensor cut(const std::vector<int64_t>& tokens, const PerplexitySettings& settings) {
  const auto total = static_cast<int64_t>(tokens.size());
  if (settings.length < 2)
    fail(ErrorKind::kInvalidArgument, "a window has {} tokens, expected at least 2", settings.length);
  if (settings.windows && *settings.windows < 1)
    fail(ErrorKind::kInvalidArgument, "the number of windows is {}, expected at least 1", *settings.windows);
  int64_t n = total / settings.length;
  if (n == 0) {
    fail(ErrorKind::kInvalidArgument, "the text has {} tokens, fewer than one window of {}", total,
         settings.length);
  }
  if (settings.windows) n = std::min(n, *settings.windows);
  const auto begin = settings.from_end ? tokens.end() - n * settings.length : tokens.begin();
  at::Tensor windows =
      at::tensor(std::vector<int64_t>(begin, begin + n * settings.length)).view({n, settings.length});
  // llama.cpp overwrites the first token of each window, which is never scored
  if (settings.protocol == Protocol::kLlamaCpp && settings.bos) windows.select(1, 0).fill_(*settings.bos);
  return windows;
}

/// Sum of -log p of the tokens next (n) under logits (n, vocabulary), which may be overwritten.
double negative_log_likelihood(const at::Tensor& logits, const at::Tensor& next) {
  const bool bf16 = logits.scalar_type() == at::kBFloat16;
  if (backend::kernels_take(logits)) {
    std::vector<double> sums(static_cast<size_t>(next.size(0)));
    const at::Tensor tokens = next.contiguous();
    const auto run = [&]<typename T>(T) {
      kernels::ce_rows(logits.size(0), logits.size(1), static_cast<T*>(logits.mutable_data_ptr()),
                       tokens.const_data_ptr<int64_t>(), 0.0F, sums.data());
    };
    bf16 ? run(kernels::Bf16{}) : run(float{});
    return std::accumulate(sums.begin(), sums.end(), 0.0);
  }
  const at::Tensor log_p = at::log_softmax(logits, -1, at::kFloat);
  return -log_p.gather(1, next.unsqueeze(1)).sum(backend::of(log_p).sum_dtype()).item<double>();
}

/// The same sum over the scored tokens of one window; hidden (length, d) after the final norm. `logits`
/// (kLogitRows, vocabulary) is scratch memory: new pages for each call would cost more than the GEMM.
double score_window(const at::Tensor& hidden, const at::Tensor& window, const model::Head& head,
                    int64_t first, at::Tensor& logits) {
  const int64_t length = window.size(0);
  double sum = 0;
  for (int64_t i = first - 1; i < length - 1; i += kLogitRows) {
    const int64_t n = std::min(kLogitRows, length - 1 - i);
    const at::Tensor rows = head.logits(hidden.narrow(0, i, n), logits.narrow(0, 0, n));
    sum += negative_log_likelihood(rows, window.narrow(0, i + 1, n));
  }
  return sum;
}

}  // namespace

Perplexity perplexity(const model::WeightView& weights, const std::vector<int64_t>& tokens,
                      const PerplexitySettings& settings, const backend::Compute& compute,
                      ProgressSink& progress) {
  const at::NoGradGuard no_grad;
  const model::Config& config = weights.config();
  const at::Tensor windows = cut(tokens, settings);
  const int64_t n = windows.size(0);
  const model::Forward forward(config, compute, settings.length);
  const int64_t first = first_scored(settings);
  const int64_t group = windows_together(settings.length, config.width);
  const int64_t groups = (n + group - 1) / group;
  progress.begin("evaluate", groups * (config.blocks + 1), "blocks");
  double sum = 0;
  for (int64_t g = 0; g < groups; ++g) {
    const at::Tensor part = windows.narrow(0, g * group, std::min(group, n - g * group));
    const at::Tensor x = final_stream(weights, part, forward,
                                      [&](int64_t b) { progress.advance(g * (config.blocks + 1) + b, ""); });
    const model::Norm norm = weights.final_norm(compute.device);
    const model::Head head = weights.head(compute);
    at::Tensor logits = at::empty({kLogitRows, head.vocabulary()}, head.weight.options());
    for (int64_t i = 0; i < part.size(0); ++i) {
      throw_if_interrupted();
      const at::Tensor hidden = norm(x.select(0, i), head.weight.scalar_type());
      sum += score_window(hidden, part.select(0, i).to(compute.device), head, first, logits);
    }
  }
  progress.end();
  const double mean = sum / static_cast<double>(n * (settings.length - first));
  if (!std::isfinite(mean)) fail(ErrorKind::kNumerical, "perplexity: the model's output is not finite");
  return {
      .perplexity = std::exp(mean), .tokens = n * settings.length, .windows = n, .length = settings.length};
}

}  // namespace freelunch::evaluate
