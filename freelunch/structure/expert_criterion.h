#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/base/enum_names.h"

namespace freelunch::structure {

/// How the experts of a mixture are scored for removal.
enum class ExpertCriterion {
  /// mean over the tokens routed to an expert of its router weight times the norm of its output (Lasby et al.
  /// 2025, arXiv 2510.13999)
  kReap,
  kFrequency,  ///< how many tokens are routed to it
  kRandom
};
inline constexpr EnumNames<ExpertCriterion, 3> kExpertCriterionNames{
    {{ExpertCriterion::kReap, "reap"},
     {ExpertCriterion::kFrequency, "frequency"},
     {ExpertCriterion::kRandom, "random"}}};

/// Sums over tokens from which experts are scored.
class ExpertUse {
 public:
  explicit ExpertUse(int64_t experts, at::Device device);
  /// weights (t, 1) fp32: the router's weights of the t tokens routed to the expert; output (t, d): what it
  /// gives for them.
  void add(int64_t expert, const at::Tensor& weights, const at::Tensor& output);
  /// REAP's score of each expert, 0 for one that no token reached: (experts) fp64.
  at::Tensor reap() const;
  /// Tokens of each expert: (experts) fp64.
  at::Tensor frequency() const { return tokens_; }

 private:
  at::Tensor weighed_, tokens_;
};

/// The `kept` experts with the highest scores: int64, ascending.
at::Tensor highest(const at::Tensor& scores, int64_t kept);

}  // namespace freelunch::structure
