#pragma once
#include <ATen/core/TensorBody.h>

#include <memory>
#include <string>

#include "freelunch/descent/schedule.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::reconstruct {

/// Which numbers of a model are trained.
enum class Trains {
  kKept,     ///< all kept weights, norms and biases
  kLora,     ///< masked low-rank adapters of the matrices, W + (alpha / rank) M o (B A)
  kBiasNorm  ///< norms and biases alone
};

/// MaskLoRA (Zimmer et al. 2023, arXiv 2312.15230): merging it leaves removed weights exactly zero.
struct LoraSettings {
  int64_t rank = 16;  ///< at most the smaller side of a matrix is used
  double alpha = 32;
};

struct TrainableSettings {
  Trains trains = Trains::kKept;
  LoraSettings lora;
  uint64_t seed = 0;  ///< of the adapters' start
};

/// A tensor of the model while it is trained: the leaf that the forward pass reads, and whatever is behind
/// it.
class TrainableTensor {
 public:
  TrainableTensor(std::string name, at::Tensor leaf) : name_(std::move(name)), leaf_(std::move(leaf)) {}
  virtual ~TrainableTensor() = default;

  const std::string& name() const { return name_; }
  const at::Tensor& leaf() const { return leaf_; }
  /// One AdamW step from the leaf's gradient, which is then dropped. False if that, or its
  /// square in fp32, is not finite; the tensor is then void.
  virtual bool step(const AdamSettings& settings, double rate) = 0;
  /// The whole tensor in fp32, or undefined where nothing of it is trained.
  virtual at::Tensor value() const = 0;
  /// Puts the trained numbers and their moments into the store, and takes them back, under `key`.
  virtual void put_state(model::TensorFile& scratch, const std::string& key) const = 0;
  virtual void take_state(const model::TensorFile& scratch, const std::string& key) = 0;

 protected:
  std::string name_;
  at::Tensor leaf_;
};

/// value fp32, left as it is; kept bool of its shape, or undefined: all of it; dtype is the leaf's. Removed
/// weights are exactly zero in leaf and value.
std::unique_ptr<TrainableTensor> trainable(const std::string& name, const at::Tensor& value,
                                           const at::Tensor& retained, at::ScalarType dtype,
                                           const TrainableSettings& settings);

/// A tensor that stays as it is.
std::unique_ptr<TrainableTensor> frozen(const std::string& name, const at::Tensor& value,
                                        at::ScalarType dtype);

}  // namespace freelunch::reconstruct
