#include "freelunch/nn/mixture.h"

#include <ATen/ATen.h>

#include <tuple>

namespace freelunch::model {

Routing route(const Experts& experts, const at::Tensor& router, const at::Tensor& normed) {
  const at::Tensor logits = at::linear(normed.to(at::kFloat), router);
  Routing routing;
  std::tie(routing.weights, routing.experts) = at::softmax(logits, -1).topk(experts.chosen, -1);
  if (experts.weights_sum_to_one) routing.weights = routing.weights / routing.weights.sum(-1, true);
  return routing;
}

at::Tensor tokens_of(const Routing& routing, int64_t expert) {
  return routing.experts.eq(expert).any(-1).nonzero().flatten();
}

at::Tensor weights_of(const Routing& routing, int64_t expert, const at::Tensor& tokens) {
  const at::Tensor here = routing.experts.index_select(0, tokens).eq(expert);
  return (routing.weights.index_select(0, tokens) * here).sum(-1, true);
}

}  // namespace freelunch::model
