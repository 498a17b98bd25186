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

/// How zeros are distributed among blocks.
enum class Allocation { kUniform, kOwl };
inline constexpr EnumNames<Allocation, 2> kAllocationNames{
    {{Allocation::kUniform, "uniform"}, {Allocation::kOwl, "owl"}}};

/// The pattern of each matrix: that of the first rule whose glob matches the name; otherwise the block's own
/// fraction of zeros if allocate() gave one; otherwise the base pattern.
class PatternMap {
 public:
  PatternMap(Pattern base, std::vector<Rule> rules) : base_(base), rules_(std::move(rules)) {}

  /// Sets the fraction of zeros of each block, as owl_fractions() gives them.
  void allocate(std::vector<double> fractions) { fractions_ = std::move(fractions); }
  /// The pattern of the matrix `tensor` in block `block`.
  Pattern of(const std::string& tensor, int64_t block) const;
  /// Throws InvalidArgument if a rule matches none of the names.
  void check_used(const std::vector<std::string>& tensors) const;

 private:
  Pattern base_;
  std::vector<Rule> rules_;
  std::vector<double> fractions_;
};

/// The fraction of zeros of each block by OWL (Yin et al. 2023, arXiv 2310.05175): blocks with more outliers
/// retain more weights. outliers: the share of a block's scores that exceed 5 times the mean of their matrix.
/// weights: the number of weights of each block. The fractions span 2 * spread and their mean over all
/// weights is `zero_fraction`. Throws InvalidArgument if a fraction would leave [0, 1).
std::vector<double> owl_fractions(const std::vector<double>& outliers, const std::vector<double>& weights,
                                  double zero_fraction, double spread = 0.08);

}  // namespace freelunch::sparsity
