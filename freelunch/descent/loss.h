#pragma once
#include <ATen/core/TensorBody.h>

#include <string_view>

#include "freelunch/base/enum_names.h"
#include "freelunch/nn/norm.h"

namespace freelunch::reconstruct {

/// How the distance of a region's output y from its target t is measured. Means are over tokens.
enum class Loss {
  kMse,          ///< mean of (y - t)^2
  kRelativeMse,  ///< mean of ||y - t||^2 / ||t||^2: each token has the same weight
  kCosine,       ///< mean of 1 - cos(y, t)
  kNextNorm,     ///< kMse after the norm that reads this stream next
  kReaderMse     ///< kRelativeMse, with each dimension weighed by how much the next sublayer reads of it
};

inline constexpr EnumNames<Loss, 5> kLossNames{{{Loss::kReaderMse, "reader-mse"},
                                                {Loss::kMse, "mse"},
                                                {Loss::kRelativeMse, "relative-mse"},
                                                {Loss::kCosine, "cosine"},
                                                {Loss::kNextNorm, "next-norm"}}};
/// Throws InvalidArgument listing the names.
Loss parse_loss(std::string_view name);
std::string_view name(Loss loss);

/// What reads a region's output next.
struct NextReader {
  model::Norm norm = {};    ///< for kNextNorm
  at::Tensor weights = {};  ///< for kReaderMse: of each dimension, (width) fp32 on the device of the output
};

/// y, t (..., width) fp32 -> scalar, differentiable in y.
at::Tensor evaluate(Loss loss, const at::Tensor& y, const at::Tensor& t, const NextReader& next);

}  // namespace freelunch::reconstruct
