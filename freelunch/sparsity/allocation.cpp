#include "freelunch/sparsity/allocation.h"

#include <fnmatch.h>

#include <algorithm>
#include <numeric>

#include "freelunch/base/error.h"

namespace freelunch::sparsity {
namespace {

bool matches(const std::string& glob, const std::string& name) {
  return ::fnmatch(glob.c_str(), name.c_str(), 0) == 0;
}

}  // namespace

Rule parse_rule(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    fail(ErrorKind::kInvalidArgument,
         "rule '{}' is not PATTERN=NAME-GLOB, such as 2:4=*self_attn* or dense=model.layers.0.*", text);
  }
  const std::string pattern = text.substr(0, equals);
  return {.pattern = pattern == "dense" ? Pattern(Unstructured{0.0}) : parse_pattern(pattern),
          .glob = text.substr(equals + 1)};
}

Pattern PatternMap::of(const std::string& tensor, int64_t block) const {
  for (const Rule& rule : rules_) {
    if (matches(rule.glob, tensor)) return rule.pattern;
  }
  if (!fractions_.empty()) return Unstructured{fractions_.at(static_cast<size_t>(block))};
  return base_;
}

void PatternMap::check_used(const std::vector<std::string>& tensors) const {
  for (const Rule& rule : rules_) {
    if (std::none_of(tensors.begin(), tensors.end(),
                     [&](const std::string& name) { return matches(rule.glob, name); })) {
      fail(ErrorKind::kInvalidArgument, "rule '{}={}' matches no matrix; a name is such as '{}'",
           to_string(rule.pattern), rule.glob, tensors.empty() ? "" : tensors.front());
    }
  }
}

std::vector<double> owl_fractions(const std::vector<double>& outliers, const std::vector<double>& weights,
                                  double zero_fraction, double spread) {
  const auto [least, most] = std::minmax_element(outliers.begin(), outliers.end());
  const double range = *most - *least;
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<double> retained(outliers.size(), 0.0);
  double mean = 0;
  for (size_t i = 0; i < outliers.size(); ++i) {
    retained[i] = range > 0 ? (outliers[i] - *least) / range * 2 * spread : 0.0;
    mean += retained[i] * weights[i] / total;
  }
  std::vector<double> fractions;
  for (const double k : retained) {
    const double fraction = zero_fraction - (k - mean);
    if (!(fraction >= 0 && fraction < 1)) {
      fail(
          ErrorKind::kInvalidArgument,
          "owl would remove {:.3f} of a block's weights at an overall fraction of {}; it must stay in [0, 1)",
          fraction, zero_fraction);
    }
    fractions.push_back(fraction);
  }
  return fractions;
}

}  // namespace freelunch::sparsity
