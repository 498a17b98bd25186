#include "freelunch/descent/make_trainable.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "freelunch/backend/backend.h"
#include "freelunch/base/random.h"
#include "freelunch/descent/retained_weights.h"
#include "freelunch/descent/update_sizes.h"

namespace freelunch::reconstruct {
namespace {

at::Tensor leaf_of(const at::Tensor& value, at::ScalarType dtype, bool trained) {
  at::Tensor leaf = value.to(dtype, /*non_blocking=*/false, /*copy=*/true);
  leaf.requires_grad_(trained);
  return leaf;
}

/// AdamW on one vector or matrix.
class Adam {
 public:
  explicit Adam(at::Tensor parameter) : parameter_(std::move(parameter)) {
    first_ = at::zeros_like(parameter_);
    second_ = at::zeros_like(parameter_);
    step_ = at::zeros({}, parameter_.options());
  }
  const at::Tensor& value() const { return parameter_; }
  bool step(const at::Tensor& gradient, const AdamSettings& settings, double rate) {
    step_ += 1;
    at::_fused_adamw_({parameter_}, {gradient}, {first_}, {second_}, /*max_exp_avg_sqs=*/{}, {step_}, rate,
                      settings.beta1, settings.beta2, /*weight_decay=*/0.0, settings.epsilon,
                      /*amsgrad=*/false,
                      /*maximize=*/false);
    return std::isfinite(second_.sum(backend::of(second_).sum_dtype()).item<double>());
  }
  void put_state(model::TensorFile& scratch, const std::string& key) const {
    scratch.put(key + " value", parameter_);
    scratch.put(key + " first", first_);
    scratch.put(key + " second", second_);
    scratch.put(key + " step", step_);
  }
  void take_state(const model::TensorFile& scratch, const std::string& key) {
    parameter_.copy_(scratch.get(key + " value"));
    first_.copy_(scratch.get(key + " first"));
    second_.copy_(scratch.get(key + " second"));
    step_.copy_(scratch.get(key + " step"));
  }

 private:
  at::Tensor parameter_, first_, second_, step_;
};

/// A tensor whose retained entries, as one fp32 vector, are trained by ATen. For any device.
class RetainedEntries final : public TrainableTensor {
 public:
  RetainedEntries(const std::string& name, const at::Tensor& value, const at::Tensor& retained,
                  at::ScalarType dtype, RateUnit unit)
      : TrainableTensor(name, leaf_of(value, dtype, true)),
        retained_(retained),
        sizes_(value, unit),
        entries_(selected(sizes_.over(value)).clone()) {}

  bool step(const AdamSettings& settings, double rate) override {
    const at::NoGradGuard no_grad;
    const at::Tensor gradient = leaf_.grad();
    if (!gradient.defined()) return true;
    const at::Tensor entries = selected(sizes_.times(gradient)).to(at::kFloat);
    leaf_.mutable_grad() = at::Tensor();
    const bool finite = entries_.step(entries, settings, rate);
    if (finite) publish();
    return finite;
  }

  void put_state(model::TensorFile& scratch, const std::string& key) const override {
    entries_.put_state(scratch, key);
  }
  void take_state(const model::TensorFile& scratch, const std::string& key) override {
    const at::NoGradGuard no_grad;
    entries_.take_state(scratch, key);
    publish();
  }

  at::Tensor value() const override {
    const at::NoGradGuard no_grad;
    const at::Tensor& entries = entries_.value();
    const at::Tensor value =
        retained_.defined() ? at::zeros(leaf_.sizes(), entries.options()).masked_scatter_(retained_, entries)
                            : entries.view(leaf_.sizes()).clone();
    return sizes_.times(value);
  }

 private:
  at::Tensor selected(const at::Tensor& all) const {
    return retained_.defined() ? all.masked_select(retained_) : all.flatten();
  }
  /// Copies the trained entries to the leaf that the forward pass reads.
  void publish() { leaf_.copy_(value()); }

  at::Tensor retained_;
  UpdateSizes sizes_;  // the entries are trained divided by them
  Adam entries_;
};

class Frozen final : public TrainableTensor {
 public:
  Frozen(const std::string& name, const at::Tensor& value, at::ScalarType dtype)
      : TrainableTensor(name, leaf_of(value, dtype, false)) {}
  bool step(const AdamSettings&, double) override { return true; }
  at::Tensor value() const override { return {}; }
  void put_state(model::TensorFile&, const std::string&) const override {}
  void take_state(const model::TensorFile&, const std::string&) override {}
};

/// W + scale * M o (B A) o S. At the start B is zero and A uniform in +-1 / sqrt(in). S are the sizes of the
/// updates of W under a relative rate, otherwise 1: the adapter is then one of the scaled matrix W / S.
class LowRankAdapter final : public TrainableTensor {
 public:
  LowRankAdapter(const std::string& name, const at::Tensor& value, const at::Tensor& retained,
                 at::ScalarType dtype, const TrainableSettings& settings)
      : TrainableTensor(name, leaf_of(value, dtype, true)),
        base_(value),
        mask_(retained.defined() ? retained : at::ones_like(value, at::kBool)),
        sizes_(value, settings.rate_unit),
        scale_(settings.lora.alpha / static_cast<double>(rank(value, settings))),
        A_(start(name, value, settings)),
        B_(at::zeros({value.size(0), rank(value, settings)}, value.options())) {}

  bool step(const AdamSettings& settings, double rate) override {
    const at::NoGradGuard no_grad;
    const at::Tensor gradient = leaf_.grad();
    if (!gradient.defined()) return true;
    const at::Tensor G = sizes_.times(gradient.to(at::kFloat).mul(mask_).mul_(scale_));  // (out, in)
    leaf_.mutable_grad() = at::Tensor();
    const at::Tensor by_A = at::mm(B_.value().t(), G);
    const at::Tensor by_B = at::mm(G, A_.value().t());
    if (!A_.step(by_A, settings, rate) || !B_.step(by_B, settings, rate)) return false;
    leaf_.copy_(value());
    return true;
  }

  void put_state(model::TensorFile& scratch, const std::string& key) const override {
    A_.put_state(scratch, key + " A");
    B_.put_state(scratch, key + " B");
  }
  void take_state(const model::TensorFile& scratch, const std::string& key) override {
    const at::NoGradGuard no_grad;
    A_.take_state(scratch, key + " A");
    B_.take_state(scratch, key + " B");
    leaf_.copy_(value());
  }

  at::Tensor value() const override {
    const at::NoGradGuard no_grad;
    return sizes_.times(at::mm(B_.value(), A_.value()).mul_(scale_).mul_(mask_)).add(base_);
  }

 private:
  static int64_t rank(const at::Tensor& value, const TrainableSettings& settings) {
    return std::min({settings.lora.rank, value.size(0), value.size(1)});
  }
  static at::Tensor start(const std::string& name, const at::Tensor& value,
                          const TrainableSettings& settings) {
    RandomStream random(settings.seed, "adapter " + name);
    at::Tensor A = at::empty({rank(value, settings), value.size(1)}, at::kFloat);
    const double bound = 1.0 / std::sqrt(static_cast<double>(value.size(1)));
    float* values = A.mutable_data_ptr<float>();
    for (int64_t i = 0; i < A.numel(); ++i)
      values[i] = static_cast<float>((2 * random.uniform() - 1) * bound);
    return A.to(value.device());
  }

  at::Tensor base_, mask_;
  UpdateSizes sizes_;
  double scale_;
  Adam A_, B_;
};

}  // namespace

std::unique_ptr<TrainableTensor> trainable(const std::string& name, const at::Tensor& value,
                                           const at::Tensor& retained, at::ScalarType dtype,
                                           const TrainableSettings& settings) {
  const bool matrix = value.dim() == 2;
  if (settings.trains == Trains::kLora && matrix)
    return std::make_unique<LowRankAdapter>(name, value, retained, dtype, settings);
  if (settings.trains == Trains::kLora || (settings.trains == Trains::kBiasNorm && matrix))
    return std::make_unique<Frozen>(name, value, dtype);
  if (matrix && RetainedWeights::serves(value, dtype))
    return std::make_unique<RetainedWeights>(name, value, retained, dtype, settings.rate_unit);
  return std::make_unique<RetainedEntries>(name, value, retained, dtype, settings.rate_unit);
}

std::unique_ptr<TrainableTensor> frozen(const std::string& name, const at::Tensor& value,
                                        at::ScalarType dtype) {
  return std::make_unique<Frozen>(name, value, dtype);
}

}  // namespace freelunch::reconstruct
