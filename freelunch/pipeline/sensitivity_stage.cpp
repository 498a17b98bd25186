#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "base/interrupt.h"
#include "pipeline/compression.h"
#include "pipeline/memory.h"
#include "reconstruct/token_loss.h"
#include "statistics/gram.h"

namespace freelunch::pipeline {
namespace {

using model::Block;
using model::Half;
using model::Part;

constexpr int64_t kBatch = 4;        // windows at a time
constexpr int64_t kLogitRows = 256;  // rows of logits at a time

/// One token drawn from the model's own next-token distribution after each position: hidden (tokens, d) after
/// the final norm, head (vocabulary, d) -> (tokens) int64.
at::Tensor sampled_tokens(const at::Tensor& hidden, const at::Tensor& head, RandomStream& random) {
  at::Tensor tokens = at::empty({hidden.size(0)}, hidden.options().dtype(at::kLong));
  for (int64_t i = 0; i < hidden.size(0); i += kLogitRows) {
    const int64_t n = std::min(kLogitRows, hidden.size(0) - i);
    at::Tensor u = at::empty({n, 1}, at::kFloat);
    for (int64_t j = 0; j < n; ++j) u.mutable_data_ptr<float>()[j] = static_cast<float>(random.uniform());
    const at::Tensor logits = at::linear(hidden.narrow(0, i, n).to(head.scalar_type()), head);
    const at::Tensor below = at::softmax(logits, -1, at::kFloat).cumsum(-1).lt(u.to(hidden.device()));
    tokens.narrow(0, i, n).copy_(below.sum(-1).clamp_max(head.size(0) - 1));
  }
  return tokens;
}

/// The forward pass: every block's input, bf16, goes to the store; the stream after the last block comes
/// back.
at::Tensor forward_pass(Compression& run, const model::Forward& forward, const at::Tensor& windows) {
  const at::NoGradGuard no_grad;
  at::Tensor x = run.dense().embed(windows, run.compute.device);
  for (int64_t b = 0; b < run.model().config().blocks; ++b) {
    run.dense_store.put(fmt::format("sensitivity input {}", b), x.to(at::kBFloat16));
    const Block block = run.dense().block(b, run.compute.device, run.compute.dtype);
    for (int64_t i = 0; i < x.size(0); i += kBatch) {
      throw_if_interrupted();
      at::Tensor part = x.narrow(0, i, std::min(kBatch, x.size(0) - i));
      part.copy_(forward.block(block, part));
    }
    run.sinks.progress.advance(b + 1, "forward");
  }
  return x;
}

/// The gradient by the last block's output of the log-likelihood of a sampled continuation.
at::Tensor final_gradient(Compression& run, at::Tensor x, RandomStream& random) {
  const at::Tensor head = run.dense().head(run.compute);
  const at::Tensor norm = run.dense().final_norm(run.compute.device);
  const double epsilon = run.model().config().norm_epsilon;
  for (int64_t i = 0; i < x.size(0); ++i) {
    throw_if_interrupted();
    at::Tensor window = x.select(0, i).detach().clone().requires_grad_(true);  // (l, d)
    const at::Tensor hidden = model::rms_norm(window, norm, epsilon);
    at::Tensor next;
    {
      const at::NoGradGuard no_grad;
      next = sampled_tokens(hidden.detach(), head, random);
    }
    const auto loss =
        reconstruct::token_loss(reconstruct::TokenLoss::kCe, hidden.detach(), {}, next, head, 1.0);
    hidden.backward(loss.gradient);
    x.select(0, i).copy_(window.grad());
  }
  return x;
}

/// One block's way back: gradient (windows, l, d) by its output becomes the one by its input; G of each
/// matrix goes to the store.
void backward_block(Compression& run, const model::Forward& forward, int64_t b, at::Tensor& gradient) {
  Block block = run.dense().block(b, run.compute.device, run.compute.dtype);
  const at::Tensor inputs = run.dense_store.get(fmt::format("sensitivity input {}", b));
  std::map<Part, statistics::Gram> grams;
  for (int64_t i = 0; i < gradient.size(0); i += kBatch) {
    throw_if_interrupted();
    const int64_t n = std::min(kBatch, gradient.size(0) - i);
    const at::Tensor x = inputs.narrow(0, i, n).to(run.compute.device).to(at::kFloat).requires_grad_(true);
    std::vector<std::pair<Part, at::Tensor>> outputs;
    const auto tap = [&](Part part, const at::Tensor& y) {
      y.retain_grad();
      outputs.emplace_back(part, y);
    };
    const at::Tensor y = forward.half(block, Half::kMlp, forward.half(block, Half::kAttention, x, tap), tap);
    y.backward(gradient.narrow(0, i, n));
    const at::NoGradGuard no_grad;
    gradient.narrow(0, i, n).copy_(x.grad());
    for (const auto& [part, output] : outputs) {
      const auto it = grams.try_emplace(part, output.size(-1), run.compute.device).first;
      it->second.add(output.grad());
    }
  }
  for (const auto& [part, gram] : grams)
    run.dense_store.put(sensitivity_name(run.model().find(b, part)->name), gram.sum().to(at::kFloat));
}

}  // namespace

void measure_sensitivity(Compression& run) {
  const model::ModelTensor* first = run.model().find(0, Part::kQuery);
  if (run.dense_store.has(sensitivity_name(first->name))) return;  // the last to be written: another run's
  const model::Config& config = run.model().config();
  const at::Tensor windows = run.windows.narrow(0, 0, run.windows.size(0) - run.held_out);
  const model::Forward forward(config, run.compute, windows.size(1));
  RandomStream random(run.plan.seed, "sampled continuations");
  run.sinks.progress.begin("sensitivity", 2 * config.blocks, "blocks");
  at::Tensor gradient = final_gradient(run, forward_pass(run, forward, windows), random);
  for (int64_t b = config.blocks; b-- > 0;) {
    backward_block(run, forward, b, gradient);
    release_freed_memory();
    run.sinks.progress.advance(2 * config.blocks - b, "backward");
  }
  run.sinks.progress.end();
}

}  // namespace freelunch::pipeline
