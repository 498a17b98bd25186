#include "freelunch/nn/elementwise.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "as_in_double.h"

namespace freelunch::model {
namespace {

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
