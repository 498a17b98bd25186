#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <string>
#include <vector>

#include "model/weights.h"
#include "reconstruct/schedule.h"

namespace freelunch::reconstruct {

/// A tensor of which only some entries are trained: those entries as an fp32 vector with their two moments,
/// and the whole tensor in the dtype that the forward pass reads.
class TrainableTensor {
 public:
  /// value fp32; kept bool of its shape, or undefined: all of it.
  TrainableTensor(const std::string& name, const at::Tensor& value, const at::Tensor& kept,
                  at::ScalarType dtype);

  const std::string& name() const { return name_; }
  /// The leaf that the forward pass reads.
  at::Tensor& leaf() { return leaf_; }
  /// One AdamW step from the leaf's gradient, which is then dropped.
  void step(const AdamSettings& settings, double rate);
  /// The whole tensor in fp32.
  at::Tensor value() const;

 private:
  std::string name_;
  at::Tensor kept_, leaf_;
  at::Tensor entries_, first_, second_, step_;
};

/// A block whose kept weights, norms and biases are trained.
class TrainableBlock {
 public:
  TrainableBlock(const model::Weights& weights, int64_t index,
                 const std::function<at::Tensor(const std::string&)>& mask_of, const model::Compute& compute);

  const model::Block& block() const { return block_; }
  void step(const AdamSettings& settings, double rate);
  std::vector<TrainableTensor>& tensors() { return tensors_; }

 private:
  model::Block block_;
  std::vector<TrainableTensor> tensors_;
};

}  // namespace freelunch::reconstruct
