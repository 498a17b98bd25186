#include "freelunch/descent/retained_weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "freelunch/backend/backend.h"
#include "freelunch/kernels/masked_adam.h"

namespace freelunch::reconstruct {
namespace {

using kernels::Bf16;

template <typename T>
T* data(const at::Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

kernels::AdamStep adam_step(const AdamSettings& settings, double rate, int64_t step) {
  const auto t = static_cast<double>(step);
  return {.rate = static_cast<float>(rate),
          .beta1 = static_cast<float>(settings.beta1),
          .beta2 = static_cast<float>(settings.beta2),
          .epsilon = static_cast<float>(settings.epsilon),
          .correction1 = static_cast<float>(1 - std::pow(settings.beta1, t)),
          .correction2 = static_cast<float>(1 - std::pow(settings.beta2, t))};
}

}  // namespace

bool RetainedWeights::serves(const at::Tensor& value, at::ScalarType dtype) {
  return backend::of(value).has_kernels(dtype);
}

RetainedWeights::RetainedWeights(const std::string& name, const at::Tensor& value, const at::Tensor& retained,
                                 at::ScalarType dtype, RateUnit unit)
    : TrainableTensor(name, at::empty(value.sizes(), value.options().dtype(dtype).requires_grad(false))),
      sizes_(retained.defined() ? value.detach() * retained : value.detach(), unit) {
  const at::NoGradGuard no_grad;
  const at::Tensor mask = retained.defined() ? retained.contiguous() : at::ones_like(value, at::kBool);
  retained_ = std::make_unique<kernels::RetainedBits>(mask.const_data_ptr<bool>(), mask.numel());
  first_ = at::zeros({retained_->count()}, at::kFloat);
  second_ = at::zeros({retained_->count()}, at::kFloat);
  if (dtype == at::kFloat) {
    leaf_.copy_(value.detach() * mask);
  } else {
    remainders_ = at::empty({retained_->count()}, at::kShort);
    kernels::split(*retained_, value.contiguous().const_data_ptr<float>(), data<Bf16>(leaf_),
                   data<int16_t>(remainders_));
  }
  leaf_.requires_grad_(true);
}

RetainedWeights::~RetainedWeights() = default;

bool RetainedWeights::step(const AdamSettings& settings, double rate) {
  const at::NoGradGuard no_grad;
  const at::Tensor gradient = leaf_.grad();
  if (!gradient.defined()) return true;
  leaf_.mutable_grad() = at::Tensor();
  const at::Tensor ordered = gradient.contiguous();
  const kernels::AdamStep adam = adam_step(settings, rate, ++steps_);
  const at::Tensor weights = leaf_.detach();
  kernels::UpdateSizes sizes;
  if (!sizes_.all_one())
    sizes = {
        .rows = data<float>(sizes_.rows()), .columns = data<float>(sizes_.columns()), .width = leaf_.size(1)};
  if (remainders_.defined()) {
    return kernels::step(*retained_,
                         kernels::RetainedWeights<Bf16>{data<Bf16>(weights), data<int16_t>(remainders_),
                                                        data<float>(first_), data<float>(second_)},
                         data<Bf16>(ordered), adam, sizes);
  }
  return kernels::step(*retained_,
                       kernels::RetainedWeights<float>{data<float>(weights), nullptr, data<float>(first_),
                                                       data<float>(second_)},
                       data<float>(ordered), adam, sizes);
}

void RetainedWeights::put_state(model::TensorFile& scratch, const std::string& key) const {
  scratch.put(key + " weights", leaf_);
  if (remainders_.defined()) scratch.put(key + " remainders", remainders_);
  scratch.put(key + " first", first_);
  scratch.put(key + " second", second_);
  scratch.put(key + " steps", at::scalar_tensor(steps_, at::TensorOptions().dtype(at::kLong)));
}

void RetainedWeights::take_state(const model::TensorFile& scratch, const std::string& key) {
  const at::NoGradGuard no_grad;
  leaf_.copy_(scratch.get(key + " weights"));
  if (remainders_.defined()) remainders_.copy_(scratch.get(key + " remainders"));
  first_.copy_(scratch.get(key + " first"));
  second_.copy_(scratch.get(key + " second"));
  steps_ = scratch.get(key + " steps").item<int64_t>();
}

at::Tensor RetainedWeights::value() const {
  const at::NoGradGuard no_grad;
  if (!remainders_.defined()) return leaf_.detach().clone();
  at::Tensor value = at::empty(leaf_.sizes(), leaf_.options().dtype(at::kFloat).requires_grad(false));
  kernels::join(*retained_, data<Bf16>(leaf_.detach()), data<int16_t>(remainders_), data<float>(value));
  return value;
}

}  // namespace freelunch::reconstruct
