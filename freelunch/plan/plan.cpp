#include "freelunch/plan/plan.h"

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/structure/unit_criterion.h"

namespace freelunch::pipeline {

const criteria::Criterion& criterion_of(const CompressPlan& plan) {
  return plan.own_criterion ? *plan.own_criterion : criteria::criterion_named(plan.criterion);
}

sparsity::Pattern pattern_of(const CompressPlan& plan) {
  const double zeros = plan.structure.asks() ? 0 : sparsity::Unstructured{}.zero_fraction;
  return plan.pattern.value_or(sparsity::Unstructured{zeros});
}

bool reads_inputs(const StructureOptions& options) {
  const model::ShapeRequest& shape = options.shape;
  const bool units = shape.mlp || shape.kv_groups || shape.heads || options.size;
  return shape.blocks ||
         (units &&
          structure::unit_criterion_named(options.criterion).needs != structure::UnitStats::kNothing) ||
         (shape.experts && options.expert_criterion != structure::ExpertCriterion::kRandom);
}

bool blends_dense_stream(const CompressPlan& plan) {
  return std::any_of(plan.grid.blends.begin(), plan.grid.blends.end(), [](double b) { return b != 0; });
}

bool prunes_weights(const CompressPlan& plan) {
  return sparsity::zero_fraction(pattern_of(plan)) > 0 ||
         std::any_of(plan.rules.begin(), plan.rules.end(),
                     [](const sparsity::Rule& rule) { return sparsity::zero_fraction(rule.pattern) > 0; });
}

void require_models(const CompressPlan& plan) {
  for (const std::filesystem::path& path : {plan.model, plan.dense}) {
    std::error_code error;
    if (!path.empty() && !std::filesystem::exists(path, error))
      fail(ErrorKind::kBadFile, "model '{}' does not exist", path.string());
  }
}

}  // namespace freelunch::pipeline
