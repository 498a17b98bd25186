#include "freelunch/base/error.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/plan/options.h"
#include "freelunch/structure/unit_criterion.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;
using R = Rows<CompressPlan>;
using P = CompressPlan;

/// Exact, unlike sparsity::to_string(), which rounds a fraction to six digits.
json pattern_value(const sparsity::Pattern& pattern) {
  if (const auto* fraction = std::get_if<sparsity::Unstructured>(&pattern)) return fraction->zero_fraction;
  return sparsity::to_string(pattern);
}

PlanOption sparsity_row() {
  PlanOption row{{.name = "sparsity",
                  .help = "Fraction of zeros, unstructured",
                  .kind = ValueKind::kFraction,
                  .use = Use::kMasks,
                  .range = ValueRange{.least = 0, .most = 1, .most_excluded = true},
                  .unset = "0.5; 0 if a smaller shape is asked for"},
                 {},
                 {}};
  row.assign = [](P& plan, const json& v) { plan.pattern = sparsity::Unstructured{v.get<double>()}; };
  row.value = [](const P& plan) {
    if (!plan.pattern) return json();
    const json value = pattern_value(*plan.pattern);
    return value.is_number() ? value : json();
  };
  return row;
}

PlanOption pattern_row() {
  PlanOption row{{.name = "pattern",
                  .help = "N:M sparsity: keep N of every M consecutive weights, such as 2:4",
                  .kind = ValueKind::kText,
                  .use = Use::kMasks,
                  .form = "KEEP:OF with 1 <= KEEP < OF <= 32, such as 2:4",
                  .unset = "unstructured",
                  .excludes = "sparsity"},
                 {},
                 {}};
  row.assign = [](P& plan, const json& v) { plan.pattern = sparsity::parse_pattern(v.get<std::string>()); };
  row.value = [](const P& plan) {
    if (!plan.pattern) return json();
    const json value = pattern_value(*plan.pattern);
    return value.is_string() ? value : json();
  };
  return row;
}

PlanOption rule_row() {
  PlanOption row{{.name = "rule",
                  .help = "Another pattern for matrices whose name matches, as PATTERN=NAME-GLOB: "
                          "2:4=*self_attn* or dense=model.layers.0.*; may be repeated, the first match wins",
                  .kind = ValueKind::kTexts,
                  .use = Use::kMasks,
                  .form = "PATTERN=NAME-GLOB",
                  .unset = "none"},
                 {},
                 {}};
  row.assign = [](P& plan, const json& v) {
    plan.rules.clear();
    for (const json& text : v) plan.rules.push_back(sparsity::parse_rule(text.get<std::string>()));
  };
  row.value = [](const P& plan) {
    json rules = json::array();
    for (const sparsity::Rule& rule : plan.rules)
      rules.push_back(text_of(pattern_value(rule.pattern)) + "=" + rule.glob);
    return rules;
  };
  return row;
}

std::vector<std::string_view> criteria_by_name() {
  std::vector<std::string_view> names;
  for (const criteria::Criterion* criterion : criteria::all_criteria()) names.push_back(criterion->name);
  return names;
}

}  // namespace

std::vector<PlanOption> pruning_options() {
  return grouped<P>(
      "Pruning",
      {sparsity_row(), pattern_row(),
       R::word("criterion", "How weights are scored for removal", Use::kMasks, criteria_by_name(),
               field(&P::criterion)),
       R::word("group", "Which weights are ranked together with unstructured sparsity: a row or a matrix",
               Use::kMasks, sparsity::kGroupNames, field(&P::group))
           .without_it("the criterion's own"),
       rule_row(),
       R::word("allocation",
               "How zeros are distributed over blocks: uniform, or owl (blocks with more outliers keep more; "
               "the fraction over all blocks stays the same)",
               Use::kMasks, sparsity::kAllocationNames, field(&P::allocation)),
       R::word("statistics",
               "Stream in which statistics for masks and solve are measured: of the pruned model (sparse) or "
               "of the dense model",
               Use::kStatistics, kStatisticsNames, field(&P::statistics))});
}

std::vector<PlanOption> structure_options() {
  using S = StructureOptions;
  using Shape = model::ShapeRequest;
  constexpr ValueRange kCount = from_to(1, 1 << 20);
  std::vector<std::string_view> criteria;
  for (const structure::UnitCriterion* criterion : structure::all_unit_criteria())
    criteria.push_back(criterion->name);
  return grouped<P>(
      "Structure",
      {R::number("mlp",
                 "Keep this share of the MLP channels of every block (and of every expert), or, above 1, "
                 "this many",
                 Use::kStructure, above_to(0, 1 << 24), field(&P::structure, &S::shape, &Shape::mlp))
           .without_it("all"),
       R::number("kv-groups", "Keep this many KV heads of every block, each with its query heads",
                 Use::kStructure, kCount, field(&P::structure, &S::shape, &Shape::kv_groups))
           .without_it("all"),
       R::number("heads", "Keep this many query heads of every block, the same number for each KV head",
                 Use::kStructure, kCount, field(&P::structure, &S::shape, &Shape::heads))
           .without_it("all"),
       R::number("experts", "Keep this many experts of every mixture", Use::kStructure, kCount,
                 field(&P::structure, &S::shape, &Shape::experts))
           .without_it("all"),
       R::number("blocks", "Keep this many blocks", Use::kStructure, kCount,
                 field(&P::structure, &S::shape, &Shape::blocks))
           .without_it("all"),
       R::number("size",
                 "Keep at most this share of the model's weights: the shape that engines load and that is "
                 "nearest to the dense model after the refit",
                 Use::kStructure, from_to(0.05, 0.99), field(&P::structure, &S::size))
           .without_it("no limit"),
       R::word("unit-criterion", "How channels and heads are scored for removal", Use::kStructure, criteria,
               field(&P::structure, &S::criterion)),
       R::word("expert-criterion", "How experts are scored for removal", Use::kStructure,
               structure::kExpertCriterionNames, field(&P::structure, &S::expert_criterion)),
       R::word("block-criterion", "How blocks are chosen for removal", Use::kStructure,
               structure::kBlockCriterionNames, field(&P::structure, &S::block_criterion))});
}

std::vector<PlanOption> calibration_options() {
  using C = CalibrationOptions;
  return grouped<P>(
      "Calibration",
      {R::path("calibration",
               "Text to calibrate on: plain text, JSON lines or a JSON array, perhaps compressed",
               Use::kCalibration, field(&P::calibration, &C::text))
           .with(Effect::kInput),
       R::flag("lines", "Treat each line of a plain text as a document", Use::kCalibration,
               field(&P::calibration, &C::one_document_a_line)),
       R::text("field", "Field of a JSON text that holds the text", Use::kCalibration,
               field(&P::calibration, &C::field)),
       R::number("samples", "Number of windows to train on", Use::kCalibration, from_to(1, 1 << 24),
                 field(&P::calibration, &C::samples)),
       R::number("length", "Tokens per window", Use::kCalibration, from_to(2, 1 << 24),
                 field(&P::calibration, &C::length)),
       R::number("held-out", "Number of further windows, used only to choose settings and the best state",
                 Use::kCalibration, from_to(0, 1 << 24), field(&P::calibration, &C::held_out)),
       R::word("windows",
               "How windows are taken: consecutive from the start of the text, or random crops of documents "
               "longer than a window",
               Use::kCalibration, calibration::kWindowRuleNames, field(&P::calibration, &C::rule)),
       R::word("bos",
               "Whether each window starts with the beginning-of-text token: tokenizer (if the tokenizer "
               "puts one in front of a text), always or never",
               Use::kCalibration, calibration::kWindowStartNames, field(&P::calibration, &C::bos))});
}

}  // namespace freelunch::pipeline
