#pragma once
#include <ATen/core/TensorBody.h>

#include <string>

#include "freelunch/backend/compute.h"
#include "freelunch/model/language_model.h"
#include "freelunch/nn/head.h"
#include "freelunch/nn/norm.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::model {

/// Which changes of a run replace the tensors of the dense checkpoint.
enum class Overlay {
  kWeights,  ///< the current weights
  kPruned    ///< the weights after pruning and before any repair: the criterion's own if it moves weights,
             ///< otherwise dense weights with the removed ones zero
};

/// The current weights of a model: the dense checkpoint, except for the tensors that a run has changed. Holds
/// no tensor itself. A block is read on request and lives as long as the caller keeps it.
class WeightView {
 public:
  explicit WeightView(const LanguageModel& dense, const TensorFile* changed = nullptr,
                      Overlay overlay = Overlay::kWeights)
      : dense_(&dense), changed_(changed), overlay_(overlay) {}

  const Config& config() const { return dense_->config(); }
  const LanguageModel& dense() const { return *dense_; }
  /// Whether the run has changed this tensor.
  bool changed(const ModelTensor& tensor) const;
  /// Whether the run has changed one of its parts.
  bool changed(const SavedTensor& tensor) const;
  /// The current tensor, fp32 on the CPU.
  at::Tensor tensor(const ModelTensor& tensor) const;
  /// A tensor of a saved folder, assembled from its parts, fp32 on the CPU.
  at::Tensor assembled(const SavedTensor& tensor) const;
  /// A block on the device: matrices in `matrix_dtype`, norms and biases in fp32.
  Block block(int64_t index, at::Device device, at::ScalarType matrix_dtype) const;
  /// The norm after the last block, weights in fp32.
  Norm final_norm(at::Device device) const;
  /// Token ids (..., l) int64 on the CPU -> the stream (..., l, width) fp32 on the device. Reads only the
  /// rows that occur. `positions`, of the same shape, default to 0 .. l-1. Throws InvalidArgument if the
  /// model has learned positions and fewer than needed.
  at::Tensor embed(const at::Tensor& tokens, at::Device device, const at::Tensor& positions = {}) const;
  /// The LM head on the device, in the compute dtype.
  Head head(const backend::Compute& compute) const;

 private:
  at::Tensor rows(const ModelTensor& tensor, const at::Tensor& index, at::Device device) const;

  const LanguageModel* dense_;
  const TensorFile* changed_;
  Overlay overlay_;
};

/// The name in a TensorFile of a tensor's mask.
std::string mask_name(const std::string& tensor);
/// The name in a TensorFile of a tensor's weights after pruning, stored only if the criterion moved weights
/// and a stage has changed the tensor since.
std::string pruned_name(const std::string& tensor);

}  // namespace freelunch::model
