#pragma once
#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>

#include "freelunch/descent/trainable_tensor.h"

namespace freelunch::kernels {
class KeptBits;
}

namespace freelunch::reconstruct {

/// A masked matrix on the CPU, trained by one pass over memory a step (kernels/masked_adam.h). Memory: the
/// leaf, a bit a weight, and for each kept weight two fp32 moments and what a bf16 leaf leaves out of an fp32
/// master.
class RetainedWeights final : public TrainableTensor {
 public:
  /// bf16 and fp32 leaves of CPU tensors.
  static bool serves(const at::Tensor& value, at::ScalarType dtype);

  /// As trainable().
  RetainedWeights(const std::string& name, const at::Tensor& value, const at::Tensor& retained,
                  at::ScalarType dtype);
  ~RetainedWeights() override;
  bool step(const AdamSettings& settings, double rate) override;
  at::Tensor value() const override;
  void put_state(model::TensorFile& scratch, const std::string& key) const override;
  void take_state(const model::TensorFile& scratch, const std::string& key) override;

 private:
  std::unique_ptr<kernels::KeptBits> retained_;
  at::Tensor remainders_, first_, second_;  // (kept)
  int64_t steps_ = 0;
};

}  // namespace freelunch::reconstruct
