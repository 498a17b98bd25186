#include "reconstruct/loss.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "model/forward.h"

namespace freelunch::reconstruct {
namespace {

constexpr std::array<std::pair<Loss, std::string_view>, 4> kNames{{{Loss::kMse, "mse"},
                                                                   {Loss::kRelativeMse, "relative-mse"},
                                                                   {Loss::kCosine, "cosine"},
                                                                   {Loss::kNextNorm, "next-norm"}}};

}  // namespace

Loss parse_loss(std::string_view text) {
  std::string known;
  for (const auto& [loss, loss_name] : kNames) {
    if (loss_name == text) return loss;
    known += (known.empty() ? "" : ", ") + std::string(loss_name);
  }
  fail(ErrorKind::kInvalidArgument, "loss '{}' is not known; expected one of {}", text, known);
}

std::string_view name(Loss loss) {
  for (const auto& [known, loss_name] : kNames) {
    if (known == loss) return loss_name;
  }
  return "";
}

at::Tensor evaluate(Loss loss, const at::Tensor& y, const at::Tensor& t, const NextNorm& next) {
  switch (loss) {
    case Loss::kMse:
      return (y - t).square().mean();
    case Loss::kRelativeMse:
      return ((y - t).square().mean(-1) / t.square().mean(-1).clamp_min(1e-20)).mean();
    case Loss::kCosine:
      return (1 - at::cosine_similarity(y, t, -1)).mean();
    case Loss::kNextNorm:
      return (model::rms_norm(y, next.weight, next.epsilon) - model::rms_norm(t, next.weight, next.epsilon))
          .square()
          .mean();
  }
  fail(ErrorKind::kInvalidArgument, "unknown loss");
}

}  // namespace freelunch::reconstruct
