#include "freelunch/structure/expert_criterion.h"

#include <ATen/ATen.h>

#include <tuple>

namespace freelunch::structure {

ExpertUse::ExpertUse(int64_t experts, at::Device device)
    : weighed_(at::zeros({experts}, at::TensorOptions().dtype(at::kDouble).device(device))),
      tokens_(at::zeros_like(weighed_)) {}

void ExpertUse::add(int64_t expert, const at::Tensor& weights, const at::Tensor& output) {
  const at::Tensor norms = output.to(at::kFloat).norm(2, -1, /*keepdim=*/true);
  weighed_[expert] += (weights * norms).sum(at::kDouble);
  tokens_[expert] += static_cast<double>(output.size(0));
}

at::Tensor ExpertUse::reap() const { return weighed_ / tokens_.clamp_min(1); }

at::Tensor highest(const at::Tensor& scores, int64_t kept) {
  const at::Tensor order = std::get<1>(scores.sort(/*stable=*/true, 0, /*descending=*/true));
  return std::get<0>(order.narrow(0, 0, kept).sort());
}

}  // namespace freelunch::structure
