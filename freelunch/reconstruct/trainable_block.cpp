#include "reconstruct/trainable_block.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace freelunch::reconstruct {

TrainableTensor::TrainableTensor(const std::string& name, const at::Tensor& value, const at::Tensor& kept,
                                 at::ScalarType dtype)
    : name_(name), kept_(kept) {
  const at::NoGradGuard no_grad;
  entries_ = kept.defined() ? value.masked_select(kept) : value.clone().flatten();
  leaf_ = value.to(dtype, /*non_blocking=*/false, /*copy=*/true);
  leaf_.requires_grad_(true);
  first_ = at::zeros_like(entries_);
  second_ = at::zeros_like(entries_);
  step_ = at::zeros({}, entries_.options());
}

void TrainableTensor::step(const AdamSettings& settings, double rate) {
  const at::NoGradGuard no_grad;
  const at::Tensor gradient = leaf_.grad();
  if (!gradient.defined()) return;
  at::Tensor entries = (kept_.defined() ? gradient.masked_select(kept_) : gradient.flatten()).to(at::kFloat);
  leaf_.mutable_grad() = at::Tensor();
  step_ += 1;
  at::_fused_adamw_({entries_}, {entries}, {first_}, {second_}, /*max_exp_avg_sqs=*/{}, {step_}, rate,
                    settings.beta1, settings.beta2, /*weight_decay=*/0.0, settings.epsilon, /*amsgrad=*/false,
                    /*maximize=*/false);
  if (kept_.defined()) {
    leaf_.masked_scatter_(kept_, entries_.to(leaf_.scalar_type()));
  } else {
    leaf_.copy_(entries_.view(leaf_.sizes()));
  }
}

at::Tensor TrainableTensor::value() const {
  const at::NoGradGuard no_grad;
  if (!kept_.defined()) return entries_.view(leaf_.sizes()).clone();
  return at::zeros(leaf_.sizes(), entries_.options()).masked_scatter_(kept_, entries_);
}

TrainableBlock::TrainableBlock(const model::Weights& weights, int64_t index,
                               const std::function<at::Tensor(const std::string&)>& mask_of,
                               const model::Compute& compute) {
  tensors_.reserve(model::kPartCount);
  for (const model::PartNames& part : model::all_parts()) {
    const model::ModelTensor* found = weights.dense().find(index, part.part);
    if (found == nullptr) continue;
    const at::Tensor kept = part.matrix ? mask_of(found->name).to(compute.device) : at::Tensor();
    tensors_.emplace_back(found->name, weights.tensor(*found).to(compute.device), kept,
                          part.matrix ? compute.dtype : at::kFloat);
    block_[part.part] = tensors_.back().leaf();
  }
}

void TrainableBlock::step(const AdamSettings& settings, double rate) {
  for (TrainableTensor& tensor : tensors_) tensor.step(settings, rate);
}

}  // namespace freelunch::reconstruct
