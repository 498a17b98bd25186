#include "pipeline/stream_walk.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace freelunch::pipeline {

at::Tensor StreamWalk::input(const model::Block& block, model::Half half, size_t group, int64_t begin,
                             int64_t n) {
  const at::NoGradGuard no_grad;
  const at::Tensor normed = forward_->normed(block, half, stream_.narrow(0, begin, n));
  if (group == 0) return normed;
  at::Tensor inner = forward_->inner(block, half, normed);
  if (!inner_.defined())
    inner_ = at::empty({stream_.size(0), stream_.size(1), inner.size(2)}, inner.options());
  inner_.narrow(0, begin, n).copy_(inner);
  return inner;
}

void StreamWalk::advance(const model::Block& block, model::Half half, int64_t begin, int64_t n) {
  const at::NoGradGuard no_grad;
  at::Tensor part = stream_.narrow(0, begin, n);
  part.copy_(forward_->add_output(block, half, part, inner_.narrow(0, begin, n)));
}

}  // namespace freelunch::pipeline
