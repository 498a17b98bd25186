#include "freelunch/pipeline/given_masks.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
std::string take_given_masks(RunContext& run) {
  int64_t zeros = 0;
  int64_t elements = 0;
  for (const model::ModelTensor& tensor : run.model().tensors()) {
    if (!tensor.role || !model::is_prunable(*tensor.role)) continue;
    const at::Tensor W = run.model().read(tensor);
    const sparsity::Observed seen = sparsity::observe(W);
    run.scratch.put(model::mask_name(tensor.name), W.ne(0));
    run.report.tensors.push_back(
        {.name = tensor.name,
         .shape = tensor.shape,
         .zeros = seen.zeros,
         .expected_zeros = seen.zeros,
         .elements = seen.elements,
         .pattern =
             sparsity::to_string(seen.pattern ? sparsity::Pattern(*seen.pattern)
                                              : sparsity::Pattern(sparsity::Unstructured{seen.sparsity()}))});
    zeros += seen.zeros;
    elements += seen.elements;
  }
  const double fraction = static_cast<double>(zeros) / static_cast<double>(std::max<int64_t>(1, elements));
  if (fraction < 0.01) {
    fail(ErrorKind::kInvalidArgument,
         "'{}' has {:.3f} % zeros in its matrices: it was not pruned; use freelunch compress",
         run.plan.model.filename().string(), 100 * fraction);
  }
  return fmt::format("{:.2f} % zeros", 100 * fraction);
}

}  // namespace freelunch::pipeline
