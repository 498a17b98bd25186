#pragma once
#include <array>
#include <optional>

#include "freelunch/closed_form/closed_form.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {

/// Second moments of what one group of matrices reads, over the windows trained on and over those held out.
class GroupStatistics {
 public:
  struct Wanted {
    bool gram = false;    ///< H; otherwise column norms alone
    bool cross = false;   ///< C and D as well: needs gram
    bool metric = false;  ///< errors will be weighed by a metric
  };
  GroupStatistics(int64_t width, at::Device device, Wanted wanted);

  /// X, Y (windows, l, width): the pruned and the dense stream's inputs; Y undefined without cross.
  void add(const at::Tensor& X, const at::Tensor& Y, bool held_out);

  /// Tokens seen.
  int64_t tokens(bool held_out) const { return tokens_[held_out ? 1 : 0]; }
  /// Throws Numerical if an input was not finite.
  void check_finite() const;
  /// What a criterion that needs that much may look at.
  criteria::CalibrationStats stats(criteria::StatsNeeded needs, double& damping) const;
  /// Where no token was seen: every input counts the same.
  criteria::CalibrationStats stats_of_no_tokens(criteria::StatsNeeded needs) const;
  /// fp32. Made when first asked for, after the last add() and evidence(): what they are made of goes away.
  const reconstruct::Moments& moments(bool held_out);

 private:
  struct Side {
    std::optional<statistics::Gram> H, D;
    std::optional<statistics::CrossGram> C;
  };
  Wanted wanted_;
  statistics::ColumnNorms norms_;
  std::array<Side, 2> sides_;
  std::array<std::optional<reconstruct::Moments>, 2> moments_;
  std::array<int64_t, 2> tokens_{};
};

}  // namespace freelunch::pipeline
