#include "freelunch/pipeline/stream_walk.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

namespace freelunch::pipeline {
namespace {

bool has_experts(const model::Block& block, model::Sublayer sublayer) {
  return sublayer == model::Sublayer::kMlp && block[model::WeightRole::kRouter].defined();
}

}  // namespace

at::Tensor StreamWalk::input(const model::Block& block, model::Sublayer sublayer, size_t group, int64_t begin,
                             int64_t n, const at::Tensor& given) {
  const at::NoGradGuard no_grad;
  const model::Normed normed = forward_->normed(block, sublayer, stream_.read(begin, n));
  if (has_experts(block, sublayer)) {
    const model::WeightRole first = model::matrix_groups(block, sublayer)[group].front();
    const at::Tensor reached =
        given.defined() ? given : forward_->expert_tokens(block, normed.tensor, first.expert);
    const at::Tensor x = normed.tensor.flatten(0, 1).index_select(0, reached);
    const bool last = first.kind == model::WeightRole::kDown;
    return (last ? forward_->expert_inner(block, x, first.expert) : x).unsqueeze(0);
  }
  if (group == 0) return normed.tensor;
  at::Tensor inner = forward_->inner(block, sublayer, normed);
  if (!inner_) {
    inner_.emplace(*settings_, std::vector<int64_t>{stream_.windows(), stream_.length(), inner.size(2)},
                   inner.scalar_type(), inner.device());
  }
  inner_->write(begin, inner);
  return inner;
}

at::Tensor StreamWalk::tokens(const model::Block& block, model::Sublayer sublayer, size_t group,
                              int64_t begin, int64_t n) const {
  if (!has_experts(block, sublayer)) return {};
  const at::NoGradGuard no_grad;
  const model::Normed normed = forward_->normed(block, sublayer, stream_.read(begin, n));
  return forward_->expert_tokens(block, normed.tensor,
                                 model::matrix_groups(block, sublayer)[group].front().expert);
}

void StreamWalk::advance(const model::Block& block, model::Sublayer sublayer, int64_t begin, int64_t n) {
  const at::NoGradGuard no_grad;
  const at::Tensor x = stream_.read(begin, n);
  const at::Tensor y = has_experts(block, sublayer)
                           ? forward_->forward_sublayer(block, sublayer, x)
                           : forward_->add_output(block, sublayer, x, inner_->read(begin, n));
  if (y.size(2) == stream_.width()) {
    stream_.write(begin, y);
    return;
  }
  // inside a parallel block the stream has another width
  if (!next_) {
    next_.emplace(*settings_, std::vector<int64_t>{stream_.windows(), stream_.length(), y.size(2)},
                  y.scalar_type(), y.device());
  }
  next_->write(begin, y);
}

void StreamWalk::pass(const model::Block& block, model::Sublayer sublayer, int64_t begin, int64_t n) {
  // a sublayer with experts runs whole: it keeps nothing between its groups
  if (!has_experts(block, sublayer))
    input(block, sublayer, model::matrix_groups(block, sublayer).size() - 1, begin, n);
  advance(block, sublayer, begin, n);
}

void StreamWalk::end_sublayer() {
  inner_.reset();
  if (next_) stream_ = *std::exchange(next_, std::nullopt);
}

}  // namespace freelunch::pipeline
