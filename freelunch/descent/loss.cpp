#include "freelunch/descent/loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/kernels/region_loss.h"

namespace freelunch::reconstruct {
namespace {

constexpr double kFloor = 1e-20;  // lower limit of a target's mean square

double relative_mse(const at::Tensor& y, const at::Tensor& t, const at::Tensor& weights, float* gradient) {
  const int64_t width = y.size(-1);
  return kernels::relative_squares(
      y.numel() / width, width, y.const_data_ptr<float>(), t.const_data_ptr<float>(),
      weights.defined() ? weights.const_data_ptr<float>() : nullptr, static_cast<float>(kFloor), gradient);
}

/// kRelativeMse and kReaderMse in one pass over y and t, which gives value and gradient.
class RelativeMse : public torch::autograd::Function<RelativeMse> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& y,
                            const at::Tensor& t, const std::optional<at::Tensor>& weights) {
    const at::Tensor gradient = at::empty_like(y);
    const double loss =
        relative_mse(y, t, weights.value_or(at::Tensor()), gradient.mutable_data_ptr<float>());
    context->save_for_backward({gradient});
    return at::scalar_tensor(loss, y.options());
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    return {context->get_saved_variables()[0] * gradients[0], {}, {}};
  }
};

/// Mean over tokens of sum w (y - t)^2 / sum w t^2; w is 1 if `weights` is undefined.
at::Tensor relative(const at::Tensor& y, const at::Tensor& t, const at::Tensor& weights) {
  if (backend::kernels_take(y, at::kFloat) && backend::kernels_take(t, at::kFloat)) {
    if (at::GradMode::is_enabled() && y.requires_grad())
      return RelativeMse::apply(y, t, weights.defined() ? std::optional(weights) : std::nullopt);
    return at::scalar_tensor(relative_mse(y, t, weights, nullptr), y.options());
  }
  const auto sum = [&](const at::Tensor& v) {
    return weights.defined() ? v.square().mul(weights).sum(-1) : v.square().sum(-1);
  };
  return (sum(y - t) / sum(t).clamp_min(kFloor)).mean();
}

/// Between the sublayers of a parallel block the stream holds two tensors side by side. The next norm reads
/// the second one, the sum.
at::Tensor read_next(const at::Tensor& y, const model::Norm& next) {
  const int64_t width = next.weight.defined() ? next.weight.size(0) : y.size(-1);
  return y.size(-1) == width ? y : y.narrow(-1, y.size(-1) - width, width);
}

}  // namespace

Loss parse_loss(std::string_view text) { return parse_named(kLossNames, text, "loss"); }

std::string_view name(Loss loss) { return name_in(kLossNames, loss); }

at::Tensor evaluate(Loss loss, const at::Tensor& y, const at::Tensor& t, const NextReader& next) {
  switch (loss) {
    case Loss::kMse:
      return (y - t).square().mean();
    case Loss::kRelativeMse:
      return relative(y, t, {});
    case Loss::kReaderMse:
      return relative(y, t, next.weights);
    case Loss::kCosine:
      return (1 - at::cosine_similarity(y, t, -1)).mean();
    case Loss::kNextNorm:
      return (next.norm(read_next(y, next.norm)) - next.norm(read_next(t, next.norm))).square().mean();
  }
  fail(ErrorKind::kInvalidArgument, "unknown loss");
}

}  // namespace freelunch::reconstruct
