#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>
#include <string>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/architecture/name_table.h"
#include "freelunch/model/block.h"

namespace freelunch::model {

/// The parts that a model of this configuration has outside its blocks, in the order of the forward pass.
std::vector<WeightRole> outer_parts(const Config& config);
/// And those of one of its blocks.
std::vector<WeightRole> block_roles(const Config& config, int64_t block);
/// What a part's tensor must look like.
std::vector<int64_t> shape_of(const Config& config, WeightRole role);

/// Which rows of a stored tensor a part is, and what the format has done to them.
struct TensorSlice {
  int64_t groups = 1;       ///< the stored rows come in so many equal groups, each with a share of the part's
  int64_t group_rows = 0;   ///< stored rows of a group
  int64_t offset = 0;       ///< of the part's rows in each group
  bool transposed = false;  ///< stored as (in, out): its columns are meant
  int64_t rotary_heads = 0;  ///< > 0: rows i and i + d / 2 of each head's d are neighbours
  double plus = 0;           ///< the stored numbers are larger by this

  /// Whether a part of that shape is the stored tensor, of this shape, as it stands: all of it, in its order.
  bool is_whole(const std::vector<int64_t>& stored, const std::vector<int64_t>& role) const;
};

struct StoredPart {
  WeightRole role;
  int64_t block = -1;  ///< -1: outside the blocks
  std::string name;    ///< of the part alone
  std::vector<int64_t> shape;
  TensorSlice slice;
};

/// One tensor of a file and the parts of the model that it holds, one or several.
struct StoredTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::vector<StoredPart> parts;
};

/// Every tensor that a file of this configuration must hold in a format, in the order of the forward pass.
/// Throws Unsupported if the format has no name for a part.
std::vector<StoredTensor> layout(const Config& config, const NameTable& names);

/// A part's name in a format.
std::string role_name(const NameTable& names, WeightRole role, int64_t block);

/// The name of the stored tensor that holds a part.
std::string stored_name(const NameTable& names, WeightRole role, int64_t block);

/// The part out of a stored tensor, and back into it; any floating dtype, the stored tensor contiguous.
at::Tensor extract(const at::Tensor& stored, const TensorSlice& slice, const std::vector<int64_t>& shape);
void insert(const at::Tensor& role, const TensorSlice& slice, at::Tensor& stored);

}  // namespace freelunch::model
