#include "pipeline/stream_walk.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

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
  stream_.write(begin, forward_->add_output(block, half, stream_.read(begin, n), inner_->read(begin, n)));
}

}  // namespace freelunch::pipeline
