#pragma once
#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>

#include "freelunch/descent/trainable_tensor.h"
#include "freelunch/descent/update_sizes.h"

namespace freelunch::kernels {
class RetainedBits;
}

namespace freelunch::reconstruct {

/// A masked matrix on the CPU; a step is one pass over memory (kernels/masked_adam.h). Holds the leaf, one
/// bit for each weight, and for each retained weight two fp32 moments and, if the leaf is bf16, the 16 low
/// bits of an fp32 master weight.
class RetainedWeights final : public TrainableTensor {
 public:
  /// True for tensors on the CPU with a bf16 or fp32 leaf.
  static bool serves(const at::Tensor& value, at::ScalarType dtype);

  /// The parameters are those of trainable() in make_trainable.h.
  RetainedWeights(const std::string& name, const at::Tensor& value, const at::Tensor& retained,
                  at::ScalarType dtype, RateUnit unit);
  ~RetainedWeights() override;
  bool step(const AdamSettings& settings, double rate) override;
  at::Tensor value() const override;
  void put_state(model::TensorFile& scratch, const std::string& key) const override;
  void take_state(const model::TensorFile& scratch, const std::string& key) override;

 private:
  std::unique_ptr<kernels::RetainedBits> retained_;
  at::Tensor remainders_, first_, second_;  // (retained)
  int64_t steps_ = 0;
  UpdateSizes sizes_;
};

}  // namespace freelunch::reconstruct
