#include "freelunch/criteria/criterion.h"

#include <ATen/ATen.h>

#include "freelunch/base/error.h"

namespace freelunch::criteria {
namespace {

std::vector<const Criterion*>& added() {
  static std::vector<const Criterion*> criteria;
  return criteria;
}

}  // namespace

std::vector<const Criterion*> all_criteria() {
#define FREELUNCH_ADDRESS(name) &name(),
  std::vector<const Criterion*> all{FREELUNCH_CRITERIA(FREELUNCH_ADDRESS)};
#undef FREELUNCH_ADDRESS
  all.insert(all.end(), added().begin(), added().end());
  return all;
}

void add_criterion(const Criterion& criterion) {
  if (criterion.name.empty()) fail(ErrorKind::kInvalidArgument, "a criterion needs a name");
  if ((criterion.score == nullptr) == (criterion.prune == nullptr))
    fail(ErrorKind::kInvalidArgument, "criterion '{}' needs either a score or a prune function",
         criterion.name);
  for (const Criterion* known : all_criteria()) {
    if (known->name == criterion.name)
      fail(ErrorKind::kInvalidArgument, "criterion '{}' exists already", criterion.name);
  }
  added().push_back(&criterion);
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

Pruned prune(const Criterion& criterion, const at::Tensor& W, const CalibrationStats& stats,
             const sparsity::Pattern& pattern, sparsity::Group group) {
  if (W.dim() != 2)
    fail(ErrorKind::kInvalidArgument, "{}: W has {} dimensions, expected 2", criterion.name, W.dim());
  if (criterion.needs_inputs() &&
      (!stats.column_norms.defined() || stats.column_norms.numel() != W.size(1))) {
    fail(ErrorKind::kInvalidArgument, "{}: W has {} inputs; the column norms have another size",
         criterion.name, W.size(1));
  }
  if (criterion.needs == StatsNeeded::kGram &&
      (!stats.inverse_factor.defined() || stats.inverse_factor.size(0) != W.size(1))) {
    fail(ErrorKind::kInvalidArgument, "{}: W has {} inputs; the Gram matrix has another size", criterion.name,
         W.size(1));
  }
  if (stats.row_weights.defined() && stats.row_weights.numel() != W.size(0)) {
    fail(ErrorKind::kInvalidArgument, "{}: W has {} outputs, but there are {} row weights", criterion.name,
         W.size(0), stats.row_weights.numel());
  }
  if (criterion.moves_weights()) return criterion.prune(W, stats, pattern, group);
  at::Tensor scores = criterion.score(W, stats);
  if (stats.row_weights.defined()) scores = scores * stats.row_weights.unsqueeze(1);
  Pruned result{.mask = sparsity::select_largest(scores, pattern, group), .W = {}};
  result.W = W * result.mask.retained;
  return result;
}

}  // namespace freelunch::criteria
