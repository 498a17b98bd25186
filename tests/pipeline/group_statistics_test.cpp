#include "freelunch/pipeline/group_statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

using criteria::StatsNeeded;

const at::Tensor X = at::tensor({1.F, 2.F, 3.F, 4.F}).view({1, 2, 2});   // two tokens of two inputs
const at::Tensor Y = at::tensor({1.F, 0.F, 0.F, 10.F}).view({1, 2, 2});  // in the dense model
const at::Tensor kGramOfX = at::tensor({10.F, 14.F, 14.F, 20.F}).view({2, 2});
const at::Tensor kCross = at::tensor({1.F, 30.F, 2.F, 40.F}).view({2, 2});  // X^T Y
const at::Tensor kGramOfY = at::tensor({1.F, 0.F, 0.F, 100.F}).view({2, 2});

GroupStatistics statistics(GroupStatistics::Wanted wanted) { return {2, at::kCPU, wanted}; }

TEST(GroupStatistics, SumColumnNormsOverCalibrationWindowsAlone) {
  GroupStatistics sums = statistics({});
  sums.add(X, {}, false);
  sums.add(100 * X, {}, true);
  EXPECT_EQ(sums.tokens(false), 2);
  EXPECT_EQ(sums.tokens(true), 2);
  double damping = 0;
  const auto stats = sums.stats(StatsNeeded::kColumnNorms, damping);
  EXPECT_FLOAT_EQ(stats.column_norms[0].item<float>(), std::sqrt(10.F));
  EXPECT_FLOAT_EQ(stats.column_norms[1].item<float>(), std::sqrt(20.F));
  EXPECT_FALSE(stats.inverse_factor.defined());
  EXPECT_FALSE(sums.stats(StatsNeeded::kNothing, damping).column_norms.defined());
}

TEST(GroupStatistics, TakeColumnNormsFromTheGramMatrixWhereThereIsOne) {
  GroupStatistics sums = statistics({.gram = true});
  sums.add(X, {}, false);
  double damping = 0;
  const auto stats = sums.stats(StatsNeeded::kGram, damping);
  EXPECT_FLOAT_EQ(stats.column_norms[0].item<float>(), std::sqrt(10.F));
  EXPECT_GT(damping, 0);
  // U^T U = (H + damping mean(diag H) I)^-1
  const at::Tensor H = kGramOfX + damping * 15 * at::eye(2);
  const at::Tensor product = stats.inverse_factor.t().mm(stats.inverse_factor).mm(H);
  EXPECT_TRUE(at::allclose(product, at::eye(2), 1e-3, 1e-3)) << product;
}

TEST(GroupStatistics, KeepCalibrationAndHeldOutMomentsApart) {
  GroupStatistics sums = statistics({.gram = true, .cross = true});
  sums.add(X, Y, false);
  sums.add(2 * X, Y, true);
  const reconstruct::Moments& seen = sums.moments(false);
  EXPECT_TRUE(at::allclose(seen.H(), kGramOfX)) << seen.H();
  EXPECT_TRUE(at::allclose(seen.C(), kCross)) << seen.C();
  EXPECT_TRUE(at::allclose(seen.D(), kGramOfY)) << seen.D();
  const reconstruct::Moments& held = sums.moments(true);
  EXPECT_TRUE(at::allclose(held.H(), 4 * kGramOfX)) << held.H();
  EXPECT_TRUE(at::allclose(held.C(), 2 * kCross)) << held.C();
  EXPECT_EQ(&sums.moments(false), &seen);  // made once
}

TEST(GroupStatistics, IgnoreWindowsWithoutATokenForTheExpert) {
  GroupStatistics sums = statistics({.gram = true});
  sums.add(at::empty({1, 0, 2}), {}, false);
  EXPECT_EQ(sums.tokens(false), 0);
  const auto stats = sums.stats_of_no_tokens(StatsNeeded::kGram);
  EXPECT_TRUE(stats.column_norms.equal(at::ones({2})));
  EXPECT_FLOAT_EQ(stats.inverse_factor[0][0].item<float>(), stats.inverse_factor[1][1].item<float>());
  EXPECT_EQ(stats.inverse_factor[0][1].item<float>(), 0);
  EXPECT_FALSE(sums.stats_of_no_tokens(StatsNeeded::kNothing).column_norms.defined());
}

TEST(GroupStatistics, RefuseInputsThatAreNotFinite) {
  const at::Tensor bad = X * std::numeric_limits<float>::infinity();
  for (const bool gram : {false, true}) {
    GroupStatistics sums = statistics({.gram = gram});
    sums.add(X, {}, false);
    EXPECT_NO_THROW(sums.check_finite());
    sums.add(bad, {}, false);
    EXPECT_THROW(sums.check_finite(), Error) << gram;
  }
  GroupStatistics sums = statistics({.gram = true, .cross = true});
  sums.add(X, bad, true);
  EXPECT_THROW(sums.check_finite(), Error);  // of the dense model's held-out windows, too
}

}  // namespace
}  // namespace freelunch::pipeline
