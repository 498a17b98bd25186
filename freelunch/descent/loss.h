#pragma once
#include <ATen/core/TensorBody.h>

#include <string_view>

#include "freelunch/base/enum_names.h"
#include "freelunch/nn/norm.h"

namespace freelunch::reconstruct {

/// How far a region's output is from its target; the mean over tokens of a figure per token.
enum class Loss {
  kMse,          ///< mean of (y - t)^2
  kRelativeMse,  ///< ||y - t||^2 / ||t||^2: each token counts the same
  kCosine,       ///< 1 - cos(y, t)
  kNextNorm      ///< mse after the norm that reads this stream next
};

inline constexpr EnumNames<Loss, 4> kLossNames{{{Loss::kMse, "mse"},
                                                {Loss::kRelativeMse, "relative-mse"},
                                                {Loss::kCosine, "cosine"},
                                                {Loss::kNextNorm, "next-norm"}}};
/// Throws InvalidArgument listing the names.
Loss parse_loss(std::string_view name);
std::string_view name(Loss loss);

/// What kNextNorm needs: the norm that reads the stream next.
using NextNorm = model::Norm;

/// y, t (..., width) fp32 -> scalar. Differentiable in y.
at::Tensor evaluate(Loss loss, const at::Tensor& y, const at::Tensor& t, const NextNorm& next);

}  // namespace freelunch::reconstruct
