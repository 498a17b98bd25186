#include "model/elementwise.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>

namespace freelunch::model {
namespace {

using Function = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

/// Value and gradients of f on inputs of its own dtypes against the plain formula in double. Doubles never
/// reach the kernels.
void expect_as_in_double(const Function& f, const Function& formula, const std::vector<at::Tensor>& inputs,
                         double tolerance) {
  std::vector<at::Tensor> ours, exact;
  for (const at::Tensor& input : inputs) {
    ours.push_back(input.detach().clone().requires_grad_(true));
    exact.push_back(input.detach().to(at::kDouble).requires_grad_(true));
  }
  const at::Tensor y = f(ours);
  const at::Tensor z = formula(exact);
  const auto expect_close = [tolerance](const at::Tensor& a, const at::Tensor& b) {
    ASSERT_TRUE(a.defined());
    EXPECT_LT(((a.to(at::kDouble) - b).norm() / b.norm()).item<double>(), tolerance);
  };
  expect_close(y.detach(), z.detach());
  const at::Tensor d = at::randn(y.sizes()).to(y.scalar_type());
  y.backward(d);
  z.backward(d.to(at::kDouble));
  for (size_t i = 0; i < inputs.size(); ++i) {
    EXPECT_EQ(ours[i].grad().scalar_type(), inputs[i].scalar_type());
    expect_close(ours[i].grad(), exact[i].grad());
  }
}

class ElementwiseTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  ElementwiseTest() { at::manual_seed(3); }
  static double tolerance() { return GetParam() == at::kFloat ? 1e-6 : 4e-3; }
};

TEST_P(ElementwiseTest, RmsNorm) {
  const auto plain = [](const std::vector<at::Tensor>& t) {
    return t[0] * t[0].square().mean(-1, true).add(1e-5).rsqrt() * t[1];
  };
  const auto ours = [](const std::vector<at::Tensor>& t) { return rms_norm(t[0], t[1], 1e-5, GetParam()); };
  expect_as_in_double(ours, plain, {at::randn({3, 41, 50}) * 4, at::randn({50})}, tolerance());
}

TEST_P(ElementwiseTest, Rotate) {
  const at::Tensor angle = at::randn({5, 6}) * 9;
  const auto plain = [&](const std::vector<at::Tensor>& t) {
    const at::Tensor c = angle.cos().to(at::kDouble).view({1, 5, 1, 6});
    const at::Tensor s = angle.sin().to(at::kDouble).view({1, 5, 1, 6});
    const at::Tensor a = t[0].slice(3, 0, 6);
    const at::Tensor b = t[0].slice(3, 6, 12);
    return at::cat({a * c - b * s, b * c + a * s}, 3);
  };
  const auto ours = [&](const std::vector<at::Tensor>& t) { return rotate(t[0], angle.cos(), angle.sin()); };
  expect_as_in_double(ours, plain, {at::randn({2, 5, 3, 12}).to(GetParam())}, tolerance());
}

TEST_P(ElementwiseTest, SiluProduct) {
  const auto plain = [](const std::vector<at::Tensor>& t) { return at::silu(t[0]) * t[1]; };
  const auto ours = [](const std::vector<at::Tensor>& t) { return silu_product(t[0], t[1]); };
  const at::Tensor gate =
      at::cat({at::randn({40000}) * 3, at::tensor({-200.0F, -90.0F, 0.0F, 90.0F, 200.0F})});
  expect_as_in_double(ours, plain, {gate.to(GetParam()), at::randn({40005}).to(GetParam())}, tolerance());
}

TEST_P(ElementwiseTest, AddBranch) {
  const auto plain = [](const std::vector<at::Tensor>& t) { return t[0] + t[1]; };
  const auto ours = [](const std::vector<at::Tensor>& t) { return add_branch(t[0], t[1]); };
  expect_as_in_double(ours, plain, {at::randn({7, 31}), at::randn({7, 31}).to(GetParam())}, tolerance());
}

INSTANTIATE_TEST_SUITE_P(Dtypes, ElementwiseTest, ::testing::Values(at::kBFloat16, at::kFloat),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST(Elementwise, GivesNoGradientThatIsNotAskedFor) {
  const at::Tensor x = at::randn({4, 8});
  const at::Tensor weight = at::ones({8}).requires_grad_(true);
  rms_norm(x, weight, 1e-5).sum().backward();
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_FALSE(x.grad().defined());
}

}  // namespace
}  // namespace freelunch::model
