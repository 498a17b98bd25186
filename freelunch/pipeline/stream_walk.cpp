#include "pipeline/stream_walk.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

namespace freelunch::pipeline {

at::Tensor StreamWalk::input(const model::Block& block, model::Half half, size_t group, int64_t begin,
                             int64_t n) {
  const at::NoGradGuard no_grad;
  const at::Tensor normed = forward_->normed(block, half, stream_.read(begin, n));
  if (group == 0) return normed;
  at::Tensor inner = forward_->inner(block, half, normed);
  if (!inner_) {
    inner_.emplace(*settings_, std::vector<int64_t>{stream_.windows(), stream_.length(), inner.size(2)},
                   inner.scalar_type(), inner.device());
  }
  inner_->write(begin, inner);
  return inner;
}

void StreamWalk::advance(const model::Block& block, model::Half half, int64_t begin, int64_t n) {
  const at::NoGradGuard no_grad;
  const at::Tensor y = forward_->add_output(block, half, stream_.read(begin, n), inner_->read(begin, n));
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

void StreamWalk::end_half() {
  inner_.reset();
  if (next_) stream_ = *std::exchange(next_, std::nullopt);
}

}  // namespace freelunch::pipeline
