#include "freelunch/plan/plan.h"

#include <array>

#include "freelunch/base/enum_names.h"

namespace freelunch::pipeline {
namespace {

constexpr EnumNames<Propagation, 3> kPropagations{{{Propagation::kDense, "dense"},
                                                   {Propagation::kSparse, "sparse"},
                                                   {Propagation::kSparseDense, "sparse-dense"}}};
constexpr EnumNames<OnDivergence, 2> kOnDivergence{
    {{OnDivergence::kStop, "stop"}, {OnDivergence::kRestart, "restart"}}};
constexpr EnumNames<StatisticsSource, 2> kStatistics{
    {{StatisticsSource::kSparse, "sparse"}, {StatisticsSource::kDense, "dense"}}};

}  // namespace

Propagation parse_propagation(std::string_view text) {
  return parse_named(kPropagations, text, "propagation");
}
std::string_view name(Propagation propagation) { return name_in(kPropagations, propagation); }

OnDivergence parse_on_divergence(std::string_view text) {
  return parse_named(kOnDivergence, text, "--on-divergence");
}

StatisticsSource parse_statistics(std::string_view text) {
  return parse_named(kStatistics, text, "statistics source");
}
std::string_view name(StatisticsSource source) { return name_in(kStatistics, source); }

}  // namespace freelunch::pipeline
