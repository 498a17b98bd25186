#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <map>
#include <vector>

#include "freelunch/architecture/weight_role.h"

namespace freelunch::model {

/// One block's tensors by part. Matrices are (out, in), norms and biases (width).
class Block {
 public:
  int64_t index = 0;  ///< among the model's blocks: they may attend differently

  at::Tensor& operator[](WeightRole role) { return tensors_[role]; }
  /// An undefined tensor where the block has none.
  const at::Tensor& operator[](WeightRole role) const;
  /// In the order of WeightRole; a tensor that was asked for in vain may be there, undefined.
  const std::map<WeightRole, at::Tensor>& tensors() const { return tensors_; }

 private:
  std::map<WeightRole, at::Tensor> tensors_;
};

/// The matrices of a sublayer that the block holds, in the groups that share an input and in the order of the
/// forward pass: {q, k, v}, {o} or {gate, up}, {down}; of a mixture of experts {gate, up} of every expert,
/// then {down} of every expert.
std::vector<std::vector<WeightRole>> matrix_groups(const Block& block, Sublayer sublayer);

}  // namespace freelunch::model
