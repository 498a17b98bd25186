#include "criteria/criterion.h"

#include <ATen/ATen.h>

#include "base/error.h"

namespace freelunch::criteria {

std::vector<const Criterion*> all_criteria() {
  return {&magnitude(), &random(), &wanda(), &ria(), &sparsegpt()};
}

std::string criterion_names() {
  std::string names;
  for (const Criterion* c : all_criteria()) names += (names.empty() ? "" : ", ") + std::string(c->name);
  return names;
}

const Criterion& criterion_named(std::string_view name) {
  for (const Criterion* c : all_criteria()) {
    if (c->name == name) return *c;
  }
  fail(ErrorKind::kInvalidArgument, "criterion '{}' is not known; expected one of {}", name,
       criterion_names());
}

Pruned prune(const Criterion& criterion, const at::Tensor& W, const Evidence& evidence,
             const sparsity::Pattern& pattern, sparsity::Group group) {
  if (W.dim() != 2)
    fail(ErrorKind::kInvalidArgument, "{}: W has {} dimensions, expected 2", criterion.name, W.dim());
  if (criterion.needs_inputs() &&
      (!evidence.column_norms.defined() || evidence.column_norms.numel() != W.size(1))) {
    fail(ErrorKind::kInvalidArgument, "{}: W has {} inputs, but the column norms do not have as many",
         criterion.name, W.size(1));
  }
  if (criterion.needs == Needs::kGram &&
      (!evidence.inverse_factor.defined() || evidence.inverse_factor.size(0) != W.size(1))) {
    fail(ErrorKind::kInvalidArgument, "{}: W has {} inputs, but the Gram matrix does not have as many",
         criterion.name, W.size(1));
  }
  if (evidence.row_weights.defined() && evidence.row_weights.numel() != W.size(0)) {
    fail(ErrorKind::kInvalidArgument, "{}: W has {} outputs, but there are {} row weights", criterion.name,
         W.size(0), evidence.row_weights.numel());
  }
  if (criterion.moves_weights()) return criterion.prune(W, evidence, pattern, group);
  at::Tensor scores = criterion.score(W, evidence);
  if (evidence.row_weights.defined()) scores = scores * evidence.row_weights.unsqueeze(1);
  Pruned result{.mask = sparsity::select_largest(scores, pattern, group), .W = {}};
  result.W = W * result.mask.kept;
  return result;
}

}  // namespace freelunch::criteria
