#include "freelunch/nn/elementwise.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "freelunch/backend/backend.h"
#include "freelunch/kernels/sublayer.h"

namespace freelunch::model {
namespace {

using backend::kernels_take;
using kernels::Bf16;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

template <typename T>
const T* data(const at::Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <typename T>
T* mutable_data(const at::Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

/// visit(T{}) with T the kernels' type for a dtype.
template <typename Visit>
void with_type(at::ScalarType dtype, const Visit& visit) {
  if (dtype == at::kBFloat16)
    visit(Bf16{});
  else
    visit(float{});
}

class RmsNorm : public Function<RmsNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            double epsilon, at::ScalarType dtype) {
    const int64_t width = x.size(-1);
    const int64_t rows = x.numel() / width;
    at::Tensor y = at::empty(x.sizes(), x.options().dtype(dtype));
    at::Tensor inverse = at::empty({rows}, x.options());
    with_type(dtype, [&]<typename T>(T) {
      kernels::rms_norm(rows, width, data<float>(x), data<float>(weight), static_cast<float>(epsilon),
                        mutable_data<T>(y), mutable_data<float>(inverse));
    });
    context->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2];
    const at::Tensor dy = gradients[0].contiguous();
    const int64_t width = x.size(-1);
    const at::Tensor dx = context->needs_input_grad(0) ? at::empty_like(x) : at::Tensor();
    const at::Tensor d_weight = context->needs_input_grad(1) ? at::empty_like(weight) : at::Tensor();
    with_type(dy.scalar_type(), [&]<typename T>(T) {
      kernels::rms_norm_backward(x.numel() / width, width, data<float>(x), data<float>(weight),
                                 data<float>(inverse), data<T>(dy),
                                 dx.defined() ? mutable_data<float>(dx) : nullptr,
                                 d_weight.defined() ? mutable_data<float>(d_weight) : nullptr);
    });
    return {dx, d_weight, {}, {}};
  }
};

at::Tensor rotated(const at::Tensor& heads, const at::Tensor& cosines, const at::Tensor& sines,
                   float direction) {
  at::Tensor y = at::empty_like(heads);
  with_type(heads.scalar_type(), [&]<typename T>(T) {
    kernels::rotate(heads.size(0) * heads.size(1), heads.size(2), heads.size(3) / 2,
                    cosines.numel() / (heads.size(3) / 2), data<T>(heads), data<float>(cosines),
                    data<float>(sines), direction, mutable_data<T>(y));
  });
  return y;
}

class Rotate : public Function<Rotate> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& heads, const at::Tensor& cosines,
                            const at::Tensor& sines) {
    context->save_for_backward({cosines, sines});
    return rotated(heads, cosines, sines, 1);
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {rotated(gradients[0].contiguous(), saved[0], saved[1], -1), {}, {}};
  }
};

class SiluProduct : public Function<SiluProduct> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    at::Tensor y = at::empty_like(gate);
    with_type(gate.scalar_type(), [&]<typename T>(T) {
      kernels::silu_product(gate.numel(), data<T>(gate), data<T>(up), mutable_data<T>(y));
    });
    context->save_for_backward({gate, up});
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const at::Tensor dy = gradients[0].contiguous();
    at::Tensor d_gate = at::empty_like(gate);
    at::Tensor d_up = at::empty_like(up);
    with_type(gate.scalar_type(), [&]<typename T>(T) {
      kernels::silu_product_backward(gate.numel(), data<T>(gate), data<T>(up), data<T>(dy),
                                     mutable_data<T>(d_gate), mutable_data<T>(d_up));
    });
    return {d_gate, d_up};
  }
};

class AddBranch : public Function<AddBranch> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& stream, const at::Tensor& branch) {
    at::Tensor y = at::empty_like(stream);
    with_type(branch.scalar_type(), [&]<typename T>(T) {
      kernels::add_branch(stream.numel(), data<float>(stream), data<T>(branch), mutable_data<float>(y));
    });
    context->saved_data["dtype"] = static_cast<int64_t>(branch.scalar_type());
    return y;
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto dtype = static_cast<at::ScalarType>(context->saved_data["dtype"].toInt());
    return {gradients[0], gradients[0].to(dtype)};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::ScalarType dtype) {
  const bool narrow = dtype == at::kBFloat16 || dtype == at::kFloat;
  if (kernels_take(x, at::kFloat) && kernels_take(weight, at::kFloat) && narrow)
    return RmsNorm::apply(x, weight, epsilon, dtype);
  return (x * x.square().mean(-1, true).add(epsilon).rsqrt() * weight).to(dtype);
}

at::Tensor rotate(const at::Tensor& heads, const at::Tensor& cosines, const at::Tensor& sines) {
  if (kernels_take(heads) && kernels_take(cosines, at::kFloat) && kernels_take(sines, at::kFloat))
    return Rotate::apply(heads, cosines, sines);
  const auto dtype = heads.scalar_type();
  const auto halves = heads.to(dtype == at::kDouble ? dtype : at::kFloat).chunk(2, -1);
  const at::Tensor c = cosines.unsqueeze(-2);
  const at::Tensor s = sines.unsqueeze(-2);
  return at::cat({halves[0] * c - halves[1] * s, halves[1] * c + halves[0] * s}, -1).to(dtype);
}

at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up) {
  const bool same = gate.scalar_type() == up.scalar_type() && gate.sizes() == up.sizes();
  if (same && kernels_take(gate) && kernels_take(up)) return SiluProduct::apply(gate, up);
  return at::silu(gate) * up;
}

at::Tensor add_branch(const at::Tensor& stream, const at::Tensor& branch) {
  if (kernels_take(stream, at::kFloat) && kernels_take(branch) && stream.sizes() == branch.sizes())
    return AddBranch::apply(stream, branch);
  return stream + branch;
}

}  // namespace freelunch::model
