#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace freelunch::model {

using Function = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

/// ||a - exact|| / ||exact||, exact in fp64.
inline double relative_error(const at::Tensor& a, const at::Tensor& exact) {
  return ((a.to(at::kDouble) - exact).norm() / exact.norm()).item<double>();
}

/// Value and gradients of f on inputs of its own dtypes against the plain formula in double. Doubles never
/// reach the kernels.
inline void expect_as_in_double(const Function& f, const Function& formula,
                                const std::vector<at::Tensor>& inputs, double tolerance) {
  std::vector<at::Tensor> ours, exact;
  for (const at::Tensor& input : inputs) {
    ours.push_back(input.detach().clone().requires_grad_(true));
    exact.push_back(input.detach().to(at::kDouble).requires_grad_(true));
  }
  const at::Tensor y = f(ours);
  const at::Tensor z = formula(exact);
  EXPECT_LT(relative_error(y.detach(), z.detach()), tolerance);
  const at::Tensor d = at::randn(y.sizes()).to(y.scalar_type());
  y.backward(d);
  z.backward(d.to(at::kDouble));
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_TRUE(ours[i].grad().defined()) << i;
    EXPECT_EQ(ours[i].grad().scalar_type(), inputs[i].scalar_type()) << i;
    EXPECT_LT(relative_error(ours[i].grad(), exact[i].grad()), tolerance) << i;
  }
}

}  // namespace freelunch::model
