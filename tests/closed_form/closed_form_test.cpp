#include "freelunch/closed_form/closed_form.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::reconstruct {
namespace {

/// W with support on the mask that solves W A = B there, row by row. All fp64.
at::Tensor solve_on_mask(const at::Tensor& A, const at::Tensor& B, const sparsity::Mask& mask) {
  at::Tensor W = at::zeros_like(B);
  for (int64_t row = 0; row < W.size(0); ++row) {
    const at::Tensor index = mask.retained[row].nonzero().flatten();
    const at::Tensor part = A.index_select(0, index).index_select(1, index);
    W[row].index_copy_(0, index, at::linalg_solve(part, B[row].index_select(0, index)));
  }
  return W;
}

/// min over W with support on the mask of tr((W - W_dense) A (W - W_dense)^T).
at::Tensor direct_solution(const at::Tensor& W_dense, const sparsity::Mask& mask, const at::Tensor& A) {
  return solve_on_mask(A, at::mm(W_dense.to(at::kDouble), A), mask);
}

double objective(const at::Tensor& solution, const at::Tensor& W_dense, const at::Tensor& A) {
  const at::Tensor E = solution.to(at::kDouble) - W_dense.to(at::kDouble);
  return (at::mm(E, A) * E).sum().item<double>();
}

struct Problem {
  at::Tensor W, X, Xd;
  sparsity::Mask mask;
  at::Tensor H() const { return at::mm(X.t(), X); }
  Moments local() const { return Moments(H()); }
  Moments moments() const {
    return Moments(H(), Moments::Form::kBoth, at::mm(X.t(), Xd), at::mm(Xd.t(), Xd));
  }
};

Problem make(uint64_t seed) {
  at::manual_seed(seed);
  Problem p;
  p.W = at::randn({5, 8});
  const at::Tensor mix = at::randn({8, 8});
  p.X = at::mm(at::randn({60, 8}), mix);
  p.Xd = p.X + 0.3 * at::randn({60, 8});
  p.mask = sparsity::select_largest(p.W.abs(), sparsity::Unstructured{0.5}, sparsity::Group::kRow);
  return p;
}

/// Solves the normal equations on the mask row by row, directly in double.
at::Tensor direct(const Problem& p, const ClosedFormSettings& s) {
  const at::Tensor H = p.H().to(at::kDouble);
  const double lambda = s.lambda * H.diagonal().mean().item<double>();
  const at::Tensor A = H + lambda * at::eye(8, at::kDouble);
  const at::Tensor C = (1 - s.blend) * H + s.blend * p.moments().C().to(at::kDouble);
  const at::Tensor Wd = p.W.to(at::kDouble);
  const at::Tensor B = at::mm(Wd, C.t() + lambda * at::eye(8, at::kDouble));
  return solve_on_mask(A, B, p.mask);
}

TEST(ClosedForm, ConjugateGradientsReachTheDirectSolution) {
  for (const double blend : {0.0, 0.4, 1.0}) {
    const Problem p = make(3);
    const ClosedFormSettings settings{.lambda = 0.01, .blend = blend, .iterations = 30};
    const at::Tensor W = solve(p.W, p.mask, p.moments(), settings);
    EXPECT_LT((W.to(at::kDouble) - direct(p, settings)).abs().max().item<double>(), 1e-3) << blend;
    sparsity::check_respected(W, p.mask, "W");
  }
}

/// Odd sizes above a panel and a block of rows; inputs whose scales span four decades, as in LLMs. Compared
/// with a direct solver in double.
TEST(ClosedForm, IsAccurateOnWideBadlyScaledInputs) {
  at::manual_seed(11);
  const int64_t in = 131;
  const at::Tensor scale = at::pow(at::full({}, 10.0), at::linspace(-2, 2, in, at::kDouble)).to(at::kFloat);
  const at::Tensor X = at::mm(at::randn({600, in}), at::randn({in, in})) * scale;
  const at::Tensor W = at::randn({101, in}) / scale;
  const sparsity::Mask mask =
      sparsity::select_largest(at::rand({101, in}), sparsity::Unstructured{0.5}, sparsity::Group::kRow);
  const Moments moments(at::mm(X.to(at::kDouble).t(), X.to(at::kDouble)).to(at::kFloat));
  const at::Tensor found = solve(W, mask, moments, {.lambda = 1e-4, .iterations = 200});
  const at::Tensor H = moments.H().to(at::kDouble);
  const at::Tensor A = H + 1e-4 * H.diagonal().mean() * at::eye(in, at::kDouble);
  const at::Tensor exact = direct_solution(W, mask, A);
  EXPECT_LT(objective(found, W, A) / objective(exact, W, A) - 1, 1e-3);
  sparsity::check_respected(found, mask, "W");
  const at::Tensor E = exact.to(at::kFloat) - W;
  const double expected =
      ((at::mm(E.to(at::kDouble), H) * E).sum() / (at::mm(W.to(at::kDouble), H) * W).sum()).item<double>();
  EXPECT_NEAR(RelativeError(W, moments).of(exact.to(at::kFloat)) / expected, 1, 1e-3);
}

/// A few tokens of enormous size along almost the same direction, as attention sinks have in the input of a
/// down projection: 99.9 % of H, while all other tokens together decide the solution.
TEST(ClosedForm, IsAccurateNextToTokensOfEnormousSize) {
  at::manual_seed(12);
  const int64_t in = 192;
  const int64_t sinks = 8;
  at::Tensor X = at::randn({1000, in});
  const at::Tensor direction = at::randn({1, in}) * at::pow(at::rand({1, in}), 4);
  X.narrow(0, 0, sinks) = 1500 * direction * (1 + 0.1 * at::rand({sinks, 1})) + at::randn({sinks, in});
  const at::Tensor W = at::randn({96, in});
  const sparsity::Mask mask =
      sparsity::select_largest(at::rand({96, in}), sparsity::Unstructured{0.5}, sparsity::Group::kRow);
  const Moments moments(at::mm(X.to(at::kDouble).t(), X.to(at::kDouble)).to(at::kFloat));
  const RelativeError error(W, moments);
  const at::Tensor target = at::mm(X.to(at::kDouble), W.to(at::kDouble).t());
  const auto exact_error = [&](const at::Tensor& found) {
    const at::Tensor outputs = at::mm(X.to(at::kDouble), found.to(at::kDouble).t());
    return ((outputs - target).square().sum() / target.square().sum()).item<double>();
  };
  const at::Tensor H = moments.H().to(at::kDouble);
  for (const double lambda : {1e-5, 1e-3}) {
    const at::Tensor A = H + lambda * H.diagonal().mean() * at::eye(in, at::kDouble);
    const at::Tensor exact = direct_solution(W, mask, A);
    // many steps: each one along a direction of wrong curvature would make the error grow
    const at::Tensor found = solve(W, mask, moments, {.lambda = lambda, .iterations = 100});
    EXPECT_LT(objective(found, W, A) / objective(exact, W, A) - 1, 0.25) << lambda;
    EXPECT_NEAR(error.of(found) / exact_error(found), 1, 0.02) << lambda;
  }
}

TEST(ClosedForm, LowersTheErrorItMinimises) {
  const Problem p = make(4);
  const Moments local = p.local();
  const double pruned = RelativeError(p.W, local).of(p.W * p.mask.retained);
  EXPECT_LT(RelativeError(p.W, local).of(solve(p.W, p.mask, local, {})), 0.8 * pruned);
}

TEST(ClosedForm, EveryFormOfTheMomentsGivesTheSameErrorsAndTheSplitTheSameSolution) {
  const Problem p = make(4);
  const Moments both(p.H(), Moments::Form::kBoth);
  const Moments split(p.H(), Moments::Form::kSplit);
  const Moments fp32(p.H(), Moments::Form::kFp32);
  const bool has_split = SplitGram::serves(at::kCPU);
  EXPECT_EQ(both.split() != nullptr, has_split);
  EXPECT_EQ(fp32.split(), nullptr);
  EXPECT_TRUE(at::equal(split.diagonal(), both.diagonal()));
  const at::Tensor W = solve(p.W, p.mask, both, {});
  EXPECT_TRUE(at::equal(solve(p.W, p.mask, split, {}), W));
  EXPECT_TRUE(at::allclose(solve(p.W, p.mask, fp32, {}), W, 1e-2, 1e-2));
  EXPECT_EQ(RelativeError(p.W, split).of(W), RelativeError(p.W, both).of(W));
  EXPECT_NEAR(RelativeError(p.W, fp32).of(W), RelativeError(p.W, both).of(W), 1e-2);
  if (!has_split) return;
  EXPECT_THROW(split.H(), Error);
  EXPECT_THROW(solve_weighted(W, p.W, p.mask, split, output_metric(at::ones({5, 5})), {}), Error);
}

TEST(ClosedForm, AnErrorOutlivesWhatItWasMadeFrom) {
  const Problem p = make(4);
  const RelativeError error = [&] { return RelativeError(p.W.clone(), p.local()); }();
  EXPECT_NEAR(error.of(at::zeros_like(p.W)), 1, 1e-2);
  EXPECT_EQ(error.of(p.W), 0);
}

TEST(ClosedForm, TheTraceIsTheErrorOfTheOutputs) {
  const Problem p = make(5);
  const at::Tensor W = p.W * p.mask.retained;
  const at::Tensor target = at::mm(p.Xd, p.W.t());
  const double expected =
      ((at::mm(p.X, W.t()) - target).square().sum() / target.square().sum()).item<double>();
  EXPECT_NEAR(RelativeError(p.W, p.moments()).of(W), expected, 1e-4);
}

TEST(ClosedForm, KeepsDenseWeightsOfInputsThatAreAlwaysZero) {
  Problem p = make(6);
  p.X.select(1, 2).zero_();
  const at::Tensor W = solve(p.W, p.mask, p.local(), {.lambda = 0.01, .iterations = 40});
  const at::Tensor retained = p.mask.retained.select(1, 2);
  EXPECT_TRUE(at::allclose(W.select(1, 2), p.W.select(1, 2) * retained, 1e-3, 1e-3));
  // and if all inputs are always zero, the pruned weights stay
  const at::Tensor silent = solve(p.W, p.mask, Moments(at::zeros({8, 8})), {});
  EXPECT_TRUE(at::allclose(silent, p.W * p.mask.retained));
}

TEST(ClosedForm, StaysFiniteAndImprovesWithFewerTokensThanInputs) {
  Problem p = make(10);
  p.X = p.X.narrow(0, 0, 3).contiguous();
  p.X.select(1, 5).zero_();
  p.W[1].zero_();
  const Moments few = p.local();
  const ClosedFormSettings settings{.lambda = 0.01, .iterations = 40};
  const at::Tensor W = solve(p.W, p.mask, few, settings);
  EXPECT_TRUE(W.isfinite().all().item<bool>());
  sparsity::check_respected(W, p.mask, "W");
  EXPECT_EQ(W[1].abs().max().item<float>(), 0.0F);  // a row of zeros is its own solution
  EXPECT_LT(RelativeError(p.W, few).of(W), 0.5 * RelativeError(p.W, few).of(p.W * p.mask.retained));
  // The same windows repeated are the same problem except for the rounding of H, to which a singular H is
  // most sensitive.
  const Moments repeated(few.H() * 3);
  EXPECT_LT((solve(p.W, p.mask, repeated, settings) - W).abs().max().item<float>(), 5e-2F);
  const at::Tensor metric = output_metric(at::zeros({5, 5}));
  EXPECT_TRUE(solve_weighted(W, p.W, p.mask, few, metric, settings).isfinite().all().item<bool>());
}

TEST(ClosedForm, ChoosesTheSettingsOfTheSmallestHeldOutError) {
  const Problem p = make(7);
  const Problem held = make(8);
  const ClosedFormGrid grid{
      .lambdas = {0.001, 0.1, 10.0}, .blends = {0.0, 0.5, 1.0}, .iterations = 30, .rows = 5};
  const ClosedFormSettings chosen = choose_settings(p.W, p.mask, p.moments(), held.moments(), grid);
  const double best = RelativeError(p.W, held.moments()).of(solve(p.W, p.mask, p.moments(), chosen));
  for (const double lambda : grid.lambdas) {
    for (const double blend : grid.blends) {
      const at::Tensor W =
          solve(p.W, p.mask, p.moments(), {.lambda = lambda, .blend = blend, .iterations = 30});
      EXPECT_LE(best, RelativeError(p.W, held.moments()).of(W) + 1e-6);
    }
  }
}

TEST(ClosedForm, RefusesABlendWithoutItsStatistics) {
  const Problem p = make(9);
  EXPECT_THROW(solve(p.W, p.mask, p.local(), {.blend = 0.5}), Error);
}

}  // namespace
}  // namespace freelunch::reconstruct
