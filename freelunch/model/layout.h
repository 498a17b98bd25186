#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/architecture/name_table.h"
#include "freelunch/model/block.h"

namespace freelunch::model {

/// The roles of a model's tensors outside the blocks, in the order of the forward pass.
std::vector<WeightRole> outer_roles(const Config& config);
/// The roles of a block's tensors, in the order of the forward pass.
std::vector<WeightRole> block_roles(const Config& config, int64_t block);
/// The shape of a tensor. `block` is -1 outside the blocks.
std::vector<int64_t> shape_of(const Config& config, int64_t block, WeightRole role);

/// The rows of a stored tensor that hold one tensor of the model, and what the file format did to them.
struct TensorSlice {
  int64_t groups = 1;        ///< the stored rows form this many equal groups, each with a share of the rows
  int64_t group_rows = 0;    ///< stored rows of a group
  int64_t offset = 0;        ///< first of the rows in each group
  bool transposed = false;   ///< stored as (in, out): the slice is of columns
  int64_t rotary_heads = 0;  ///< > 0: in each of so many heads of d rows, rows i and i + d / 2 are neighbours
  double plus = 0;           ///< added to the values when they are stored

  /// True if the slice, of that shape, is the whole stored tensor, not permuted, transposed or shifted.
  bool is_whole(const std::vector<int64_t>& stored_shape, const std::vector<int64_t>& shape) const;
};

/// One tensor of the model in a stored tensor.
struct StoredPart {
  WeightRole role;
  int64_t block = -1;  ///< -1: outside the blocks
  std::string name;    ///< of this tensor alone
  std::vector<int64_t> shape;
  TensorSlice slice;
};

/// One tensor of a file and the tensors of the model that it holds, one or more.
struct StoredTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<StoredPart> parts;
};

/// Every tensor that a file of this configuration must hold in a format, in the order of the forward pass.
/// Throws Unsupported if the format has no name for a role.
std::vector<StoredTensor> layout(const Config& config, const NameTable& names);

/// The name of a role's tensor in a format. Throws Unsupported if it has none.
std::string role_name(const NameTable& names, WeightRole role, int64_t block);

/// The name of the stored tensor that holds it, alone or with others. Throws Unsupported if there is none.
std::string stored_name(const NameTable& names, WeightRole role, int64_t block);

/// Reads a tensor of the given shape out of a stored tensor. Any floating dtype. `stored` is contiguous.
at::Tensor extract(const at::Tensor& stored, const TensorSlice& slice, const std::vector<int64_t>& shape);
/// Writes a tensor into a stored tensor, the inverse of extract().
void insert(const at::Tensor& tensor, const TensorSlice& slice, at::Tensor& stored);

}  // namespace freelunch::model
