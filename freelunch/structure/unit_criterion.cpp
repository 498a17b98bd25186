#include "freelunch/structure/unit_criterion.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/base/error.h"

namespace freelunch::structure {

const std::vector<const UnitCriterion*>& all_unit_criteria() {
#define FREELUNCH_ADDRESS(name) &name(),
  static const std::vector<const UnitCriterion*> all{FREELUNCH_UNIT_CRITERIA(FREELUNCH_ADDRESS)};
#undef FREELUNCH_ADDRESS
  return all;
}

const UnitCriterion& unit_criterion_named(std::string_view name) {
  std::string names;
  for (const UnitCriterion* criterion : all_unit_criteria()) {
    if (criterion->name == name) return *criterion;
    names += (names.empty() ? "" : ", ") + std::string(criterion->name);
  }
  fail(ErrorKind::kInvalidArgument, "unit criterion '{}' is not known; expected one of {}", name, names);
}

at::Tensor choose_units(const UnitCriterion& criterion, const UnitChoice& choice) {
  const at::NoGradGuard no_grad;
  const int64_t units = choice.units();
  if (choice.kept < choice.groups || choice.kept > units || units % choice.groups != 0 ||
      choice.kept % choice.groups != 0)
    fail(ErrorKind::kInvalidArgument, "{}: cannot keep {} of {} units in {} equal groups", criterion.name,
         choice.kept, units, choice.groups);
  if (criterion.needs == UnitStats::kMoments &&
      (!choice.H.defined() || !choice.sums.defined() || choice.H.size(0) != choice.W.size(1)))
    fail(ErrorKind::kInvalidArgument, "{}: needs the moments of {} inputs", criterion.name, choice.W.size(1));
  if (criterion.choose != nullptr) return criterion.choose(choice);
  const at::Tensor scores = criterion.score(choice).to(at::kDouble).view({choice.groups, -1});
  // a stable sort: units with equal scores stay in order, on every device
  const at::Tensor order = std::get<1>(scores.sort(/*stable=*/true, 1, /*descending=*/true));
  const at::Tensor first = at::arange(choice.groups, order.options()).unsqueeze(1) * scores.size(1);
  const at::Tensor kept = order.narrow(1, 0, choice.kept / choice.groups) + first;
  return std::get<0>(kept.flatten().sort());
}

}  // namespace freelunch::structure
