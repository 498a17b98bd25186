#pragma once
#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>

#include "freelunch/descent/schedule.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::reconstruct {

/// Which parameters of a model are trained.
enum class Trains {
  kRetained,  ///< all retained weights, norms and biases
  kLora,      ///< masked low-rank adapters of the matrices: W + (alpha / rank) M o (B A)
  kBiasNorm   ///< only norms and biases
};

/// MaskLoRA (Zimmer et al. 2023, arXiv 2312.15230). Removed weights stay exactly zero when an adapter is
/// merged.
struct LoraSettings {
  int64_t rank = 16;  ///< limited to the smaller side of a matrix
  double alpha = 32;
};

struct TrainableSettings {
  Trains trains = Trains::kRetained;
  LoraSettings lora;
  uint64_t seed = 0;  ///< of the random start of the adapters
  RateUnit rate_unit = RateUnit::kAbsolute;
};

/// A tensor of the model during training: the autograd leaf that the forward pass reads, and its optimiser
/// state.
class TrainableTensor {
 public:
  TrainableTensor(std::string name, at::Tensor leaf) : name_(std::move(name)), leaf_(std::move(leaf)) {}
  virtual ~TrainableTensor() = default;

  const std::string& name() const { return name_; }
  const at::Tensor& leaf() const { return leaf_; }
  /// One AdamW step at learning rate `rate` from the leaf's gradient, which is then dropped. Returns false if
  /// the gradient, or its square in fp32, is not finite; the tensor is then unusable.
  virtual bool step(const AdamSettings& settings, double rate) = 0;
  /// The whole tensor in fp32; undefined if it is not trained.
  virtual at::Tensor value() const = 0;
  /// Saves the trained parameters and their moments in `scratch` under `key`, and restores them.
  virtual void put_state(model::TensorFile& scratch, const std::string& key) const = 0;
  virtual void take_state(const model::TensorFile& scratch, const std::string& key) = 0;

 protected:
  std::string name_;
  at::Tensor leaf_;
};

}  // namespace freelunch::reconstruct
