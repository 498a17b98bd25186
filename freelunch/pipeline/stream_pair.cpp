#include "freelunch/pipeline/stream_pair.h"

#include <ATen/ATen.h>

#include <utility>

#include "freelunch/pipeline/window_batches.h"

namespace freelunch::pipeline {

StreamPair::StreamPair(StreamWalk ours, std::optional<StreamWalk> dense, int64_t held_out)
    : ours_(std::move(ours)), dense_(std::move(dense)), held_out_(held_out) {}

void StreamPair::for_each_input(
    const model::Block& ours, const model::Block& dense, model::Sublayer sublayer, size_t group,
    const std::function<void(const at::Tensor&, const at::Tensor&, int64_t, bool)>& visit) {
  for_each_batch(ours_.windows(), held_out_, [&](int64_t i, int64_t n, bool held_out) {
    // both streams give the tokens that ours routes to an expert, so that rows of X and Y correspond
    const at::Tensor tokens = ours_.tokens(ours, sublayer, group, i, n);
    const at::Tensor X = ours_.input(ours, sublayer, group, i, n, tokens);
    const at::Tensor Y = dense_ ? dense_->input(dense, sublayer, group, i, n, tokens) : at::Tensor();
    visit(X, Y, i, held_out);
  });
}

at::Tensor StreamPair::drift(int64_t begin, int64_t n) const {
  return dense_->stream(begin, n) - ours_.stream(begin, n);
}

void StreamPair::advance(const model::Block& ours, const model::Block& dense, model::Sublayer sublayer) {
  for_each_batch(ours_.windows(), held_out_, [&](int64_t i, int64_t n, bool) {
    ours_.advance(ours, sublayer, i, n);
    if (dense_) dense_->advance(dense, sublayer, i, n);
  });
  end_sublayer();
}

void StreamPair::pass(const model::Block& ours, const model::Block& dense, model::Sublayer sublayer) {
  for_each_batch(ours_.windows(), held_out_, [&](int64_t i, int64_t n, bool) {
    ours_.pass(ours, sublayer, i, n);
    if (dense_) dense_->pass(dense, sublayer, i, n);
  });
  end_sublayer();
}

void StreamPair::pass_dense(const model::Block& dense) {
  for (const model::Sublayer sublayer : model::kSublayers) {
    for_each_batch(ours_.windows(), held_out_,
                   [&](int64_t i, int64_t n, bool) { dense_->pass(dense, sublayer, i, n); });
    dense_->end_sublayer();
  }
}

void StreamPair::end_sublayer() {
  ours_.end_sublayer();
  if (dense_) dense_->end_sublayer();
}

}  // namespace freelunch::pipeline
