#pragma once
#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "sparsity/mask.h"
#include "sparsity/pattern.h"

namespace freelunch::criteria {

/// What a criterion may look at besides the weights.
struct Evidence {
  at::Tensor column_norms;         ///< (in) fp32: sqrt(sum_t X_tj^2); undefined unless the criterion needs it
  RandomStream* random = nullptr;  ///< the stream of this matrix
};

/// A pruning criterion: a score for each weight, the smallest of which go.
struct Criterion {
  std::string_view name;
  bool needs_column_norms = false;
  sparsity::Group group = sparsity::Group::kRow;  ///< what competes unless the user says otherwise
  /// W (out, in) fp32 -> scores (out, in) fp32 on the same device.
  at::Tensor (*score)(const at::Tensor& W, const Evidence& evidence) = nullptr;
};

const Criterion& magnitude();
const Criterion& random();
const Criterion& wanda();

std::vector<const Criterion*> all_criteria();
/// Throws InvalidArgument listing the names.
const Criterion& criterion_named(std::string_view name);

/// The mask that a criterion chooses for W (out, in). Throws InvalidArgument if shapes disagree.
sparsity::Mask choose(const Criterion& criterion, const at::Tensor& W, const Evidence& evidence,
                      const sparsity::Pattern& pattern, sparsity::Group group);

}  // namespace freelunch::criteria
