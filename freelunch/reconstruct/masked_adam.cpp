#include "reconstruct/masked_adam.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace freelunch::reconstruct {

void MaskedAdam::add(const at::Tensor& parameter, const sparsity::Mask& mask) {
  const at::NoGradGuard no_grad;
  parameters_.push_back(parameter);
  masks_.push_back(mask.kept.defined() ? mask.kept.to(parameter.scalar_type()) : at::Tensor());
  first_.push_back(at::zeros_like(parameter));
  second_.push_back(at::zeros_like(parameter));
  steps_.push_back(at::zeros({}, parameter.options().requires_grad(false)));
}

void MaskedAdam::step(std::vector<at::Tensor> gradients, double learning_rate) {
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (masks_[i].defined()) gradients[i].mul_(masks_[i]);
    steps_[i] += 1;
  }
  at::_fused_adamw_(parameters_, gradients, first_, second_, /*max_exp_avg_sqs=*/{}, steps_, learning_rate,
                    settings_.beta1, settings_.beta2, /*weight_decay=*/0.0, settings_.epsilon,
                    /*amsgrad=*/false,
                    /*maximize=*/false);
}

}  // namespace freelunch::reconstruct
