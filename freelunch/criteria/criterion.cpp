#include "criteria/criterion.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace freelunch::criteria {

std::vector<const Criterion*> all_criteria() { return {&magnitude(), &random(), &wanda()}; }

const Criterion& criterion_named(std::string_view name) {
  std::string known;
  for (const Criterion* c : all_criteria()) {
    if (c->name == name) return *c;
    known += (known.empty() ? "" : ", ") + std::string(c->name);
  }
  fail(ErrorKind::kInvalidArgument, "criterion '{}' is not known; expected one of {}", name, known);
}

sparsity::Mask choose(const Criterion& criterion, const at::Tensor& W, const Evidence& evidence,
                      const sparsity::Pattern& pattern, sparsity::Group group) {
  if (W.dim() != 2)
    fail(ErrorKind::kInvalidArgument, "{}: W has {} dimensions, expected 2", criterion.name, W.dim());
  if (criterion.needs_column_norms &&
      (!evidence.column_norms.defined() || evidence.column_norms.numel() != W.size(1))) {
    fail(ErrorKind::kInvalidArgument, "{}: W has {} inputs, but the column norms do not have as many",
         criterion.name, W.size(1));
  }
  return sparsity::select_largest(criterion.score(W, evidence), pattern, group);
}

}  // namespace freelunch::criteria
