#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/model/block.h"

namespace freelunch::structure {

/// Units are what structured pruning removes together. Indices are int64 (n), ascending, on the device of the
/// block's tensors. Each function replaces the tensors of a block by what is kept of them.

/// MLP channels: rows of gate and up with their biases, columns of down. `expert` is -1 for a plain MLP.
void keep_channels(model::Block& block, int32_t expert, const at::Tensor& channels);

/// Heads: rows of q with its bias and columns of o for query heads; rows of k and v with their biases for KV
/// heads. Norms of single heads are shared by all heads and stay.
void keep_heads(model::Block& block, const at::Tensor& query_heads, const at::Tensor& kv_heads,
                int64_t head_dim);

/// Experts of a mixture: their matrices, renumbered from 0 on, and rows of the router.
void keep_experts(model::Block& block, const at::Tensor& experts);

/// The columns of units of `size` consecutive columns: (n) -> (n x size).
at::Tensor columns_of(const at::Tensor& units, int64_t size);

}  // namespace freelunch::structure
