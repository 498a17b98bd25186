#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/enum_names.h"
#include "freelunch/sparsity/pattern.h"

namespace freelunch::sparsity {

/// A pattern for the tensors whose name matches a glob.
struct Rule {
  Pattern pattern;
  std::string glob;  ///< *, ? and [...] as in shells; * also spans dots
};

/// "2:4=*self_attn*", "0.6=*mlp*", "dense=model.layers.0.*" -> Rule. Throws InvalidArgument.
Rule parse_rule(const std::string& text);

/// How zeros are shared out among blocks.
enum class Allocation { kUniform, kOwl };
inline constexpr EnumNames<Allocation, 2> kAllocationNames{
    {{Allocation::kUniform, "uniform"}, {Allocation::kOwl, "owl"}}};

/// Which pattern each matrix gets: the first rule whose glob matches its name; else the block's own fraction
/// of zeros where there is one; else the pattern given for all.
class PatternMap {
 public:
  PatternMap(Pattern base, std::vector<Rule> rules) : base_(base), rules_(std::move(rules)) {}

  /// Fractions of zeros by block, as owl_fractions gives them.
  void allocate(std::vector<double> fractions) { fractions_ = std::move(fractions); }
  Pattern of(const std::string& tensor, int64_t block) const;
  /// Throws InvalidArgument for the first rule that matches none of the names.
  void check_used(const std::vector<std::string>& tensors) const;

 private:
  Pattern base_;
  std::vector<Rule> rules_;
  std::vector<double> fractions_;
};

/// OWL (Yin et al. 2023, arXiv 2310.05175): blocks with more outliers keep more. outliers: each block's share
/// of scores above 5 times the mean of its matrix; weights: each block's number of weights. Fractions of
/// zeros lie within +-spread of each other's middle and average to `zero_fraction` over all weights. Throws
/// InvalidArgument if a fraction would leave [0, 1).
std::vector<double> owl_fractions(const std::vector<double>& outliers, const std::vector<double>& weights,
                                  double zero_fraction, double spread = 0.08);

}  // namespace freelunch::sparsity
