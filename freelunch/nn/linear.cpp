#include "freelunch/nn/linear.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "freelunch/kernels/column_sums.h"

namespace freelunch::model {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// a, b (rows, width) -> (width) fp32: the sum over rows of a b.
at::Tensor column_products(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor sums = at::zeros({a.size(1)}, a.options().dtype(at::kDouble));
  const auto add = [&]<typename T>(const T* of_a, const T* of_b) {
    kernels::add_column_products(a.size(0), a.size(1), of_a, of_b, sums.mutable_data_ptr<double>());
  };
  if (a.scalar_type() == at::kBFloat16)
    add(static_cast<const kernels::Bf16*>(a.const_data_ptr()),
        static_cast<const kernels::Bf16*>(b.const_data_ptr()));
  else
    add(a.const_data_ptr<float>(), b.const_data_ptr<float>());
  return sums.to(at::kFloat);
}

class LinearOfNormed : public torch::autograd::Function<LinearOfNormed> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& gain, const std::optional<at::Tensor>& bias) {
    context->save_for_backward({x, weight, gain});
    context->saved_data["bias"] = bias.has_value();
    return at::linear(x, weight, bias);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor x = saved[0].flatten(0, -2);
    const at::Tensor weight = saved[1].contiguous();
    const at::Tensor& gain = saved[2];
    const at::Tensor dy = gradients[0].flatten(0, -2);
    const at::Tensor d_weight = dy.t().mm(x);
    const bool bias = context->saved_data["bias"].toBool();
    return {at::Tensor(), d_weight, column_products(weight, d_weight) / gain,
            bias ? dy.sum(0) : at::Tensor()};
  }
};

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  at::ScalarType dtype) {
  return at::linear(x.to(dtype), weight.to(dtype), bias.defined() ? bias.to(dtype) : at::Tensor());
}

at::Tensor linear_of_normed(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const at::Tensor& gain, at::ScalarType dtype) {
  return LinearOfNormed::apply(x.to(dtype), weight.to(dtype), gain,
                               bias.defined() ? std::optional(bias.to(dtype)) : std::nullopt);
}

}  // namespace freelunch::model
