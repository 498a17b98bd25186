#include "freelunch/pipeline/seam.h"

#include <ATen/ATen.h>

namespace freelunch::pipeline {

bool can_make_up(const model::Config& config, int64_t block) {
  return !config.parallel && config.norm_place == model::NormPlace::kBefore && !config.has_experts(block);
}

SeamStatistics seam_statistics(StreamPair& streams, const model::Forward& forward, const at::Tensor& W,
                               const model::Block& ours, const std::vector<model::Block>& removed) {
  constexpr size_t kDownGroup = 1;  // after gate and up
  SeamStatistics seam{.down = ConsumerStatistics(W, /*targets=*/true), .stream_squares = {}};
  for (at::Tensor& squares : seam.stream_squares)
    squares = at::zeros({W.size(0)}, seam.down.sums(false).options());
  const at::Tensor bias = ours[model::WeightRole::kDownBias];
  streams.for_each_input(ours, ours, model::Sublayer::kMlp, kDownGroup,
                         [&](const at::Tensor& X, const at::Tensor&, int64_t first, bool held_out) {
                           const at::Tensor before = streams.stream(first, X.size(0));
                           at::Tensor x = forward.add_output(ours, model::Sublayer::kMlp, before, X);
                           for (const model::Block& block : removed) x = forward.forward_block(block, x);
                           at::Tensor& squares = seam.stream_squares.at(held_out ? 1 : 0);
                           squares += x.square().sum({0, 1}, false, squares.scalar_type());
                           at::Tensor target = x - before;
                           if (bias.defined()) target -= bias;
                           seam.down.add(X, target, held_out);
                         });
  streams.forget_inputs();
  return seam;
}

}  // namespace freelunch::pipeline
