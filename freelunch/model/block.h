#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <map>
#include <vector>

#include "freelunch/architecture/weight_role.h"

namespace freelunch::model {

/// The tensors of one block by role. Matrices are (out, in), biases (out), norms (width).
class Block {
 public:
  int64_t index = 0;  ///< position among the model's blocks; selects the layer type

  /// An undefined tensor if the block has none of this role.
  const at::Tensor& operator[](WeightRole role) const;
  /// To change or replace a tensor in place. Throws InvalidArgument if the block has none of this role.
  at::Tensor& at(WeightRole role);
  /// Adds or replaces a tensor, which must be defined. Throws InvalidArgument if it is not.
  void set(WeightRole role, at::Tensor tensor);
  /// All tensors, each defined, in the order of WeightRole.
  const std::map<WeightRole, at::Tensor>& tensors() const { return tensors_; }

 private:
  std::map<WeightRole, at::Tensor> tensors_;
};

/// The block with its matrices in `dtype`. Shares every tensor that needs no cast.
Block with_matrices_in(const Block& block, at::ScalarType dtype);

/// The prunable matrices of a sublayer, in groups that share an input, in the order of the forward pass:
/// {q, k, v}, {o} or {gate, up}, {down}. In a mixture of experts {gate, up} of each expert, then {down} of
/// each expert. Matrices that the block does not have are left out.
std::vector<std::vector<WeightRole>> matrix_groups(const Block& block, Sublayer sublayer);

}  // namespace freelunch::model
