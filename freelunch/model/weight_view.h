#pragma once
#include <ATen/core/TensorBody.h>

#include <string>

#include "freelunch/backend/compute.h"
#include "freelunch/model/language_model.h"
#include "freelunch/nn/head.h"
#include "freelunch/nn/norm.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::model {

/// What of a run's changes is laid over the dense checkpoint.
enum class Overlay {
  kWeights,  ///< the changed tensors
  kPruned    ///< as the criterion left them, before any repair: its own weights where it moved them, else
             ///< dense weights with the removed ones zero
};

/// A model's weights as they stand: the dense checkpoint, with the tensors that a run has changed laid over
/// it. Holds no tensor itself; a block is read when asked for and lives as long as the caller keeps it.
class WeightView {
 public:
  explicit WeightView(const LanguageModel& dense, const TensorFile* changed = nullptr,
                      Overlay overlay = Overlay::kWeights)
      : dense_(&dense), changed_(changed), overlay_(overlay) {}

  const Config& config() const { return dense_->config(); }
  const LanguageModel& dense() const { return *dense_; }
  /// Whether the overlay holds this tensor.
  bool changed(const ModelTensor& tensor) const;
  bool changed(const SavedTensor& tensor) const;
  /// fp32 on the CPU.
  at::Tensor tensor(const ModelTensor& tensor) const;
  /// A tensor of a saved folder, put together from its parts: fp32 on the CPU.
  at::Tensor assembled(const SavedTensor& tensor) const;
  /// A block on the device: matrices in `matrix_dtype`, norms and biases in fp32.
  Block block(int64_t index, at::Device device, at::ScalarType matrix_dtype) const;
  /// What the stream goes through after the last block, weights in fp32.
  Norm final_norm(at::Device device) const;
  /// token ids (..., l) int64 on the CPU -> the stream (..., l, width) fp32 on the device. Reads only the
  /// rows that occur. `positions`, of the same shape, are 0 .. l-1 unless given. Throws InvalidArgument where
  /// learned positions end before the tokens.
  at::Tensor embed(const at::Tensor& tokens, at::Device device, const at::Tensor& positions = {}) const;
  /// From final hidden states to logits, in the compute dtype, on the device.
  Head head(const backend::Compute& compute) const;

 private:
  at::Tensor rows(const ModelTensor& tensor, const at::Tensor& index, at::Device device) const;

  const LanguageModel* dense_;
  const TensorFile* changed_;
  Overlay overlay_;
};

/// Under which name a TensorFile keeps the mask of a tensor.
std::string mask_name(const std::string& tensor);
/// And the weights of a criterion that moves them, where a stage has since changed the tensor.
std::string pruned_name(const std::string& tensor);

}  // namespace freelunch::model
