#include "freelunch/criteria/criterion.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"
#include "freelunch/criteria/inverse_factor.h"

namespace freelunch::criteria {
namespace {

using sparsity::Group;
using sparsity::Unstructured;

TEST(Wanda, WeighsEachWeightByTheNormOfItsInput) {
  const at::Tensor W = at::tensor({1.0F, -2.0F, 3.0F, 0.5F}).view({1, 4});
  const CalibrationStats stats{.column_norms = at::tensor({10.0F, 1.0F, 1.0F, 1.0F})};
  // scores 10, 2, 3, 0.5
  const at::Tensor retained = prune(wanda(), W, stats, Unstructured{0.5}, Group::kRow).mask.retained;
  EXPECT_TRUE(at::equal(retained, at::tensor({1, 0, 1, 0}).view({1, 4}).to(at::kBool)));
}

TEST(Wanda, RefusesMissingOrWrongNorms) {
  EXPECT_THROW(prune(wanda(), at::ones({2, 4}), {}, Unstructured{0.5}, Group::kRow), Error);
  EXPECT_THROW(
      prune(wanda(), at::ones({2, 4}), {.column_norms = at::ones(3)}, Unstructured{0.5}, Group::kRow), Error);
}

TEST(Ria, IsTheRelativeImportanceOfItsFormula) {
  const at::Tensor W = at::tensor({1.0F, -3.0F, 2.0F, 4.0F}).view({2, 2});
  const CalibrationStats stats{.column_norms = at::tensor({4.0F, 9.0F})};
  // (|W| / row sum + |W| / column sum) * sqrt(norm): rows sum to 4 and 6, columns to 3 and 7
  const at::Tensor expected = at::tensor({(1.0F / 4 + 1.0F / 3) * 2, (3.0F / 4 + 3.0F / 7) * 3,
                                          (2.0F / 6 + 2.0F / 3) * 2, (4.0F / 6 + 4.0F / 7) * 3})
                                  .view({2, 2});
  EXPECT_TRUE(at::allclose(ria().score(W, stats), expected));
}

/// Correlated inputs, so that moving weights lowers the error.
struct Correlated {
  at::Tensor W, H;
  CalibrationStats stats;
  Correlated(int64_t rows, int64_t columns) {
    at::manual_seed(3);
    W = at::randn({rows, columns});
    const at::Tensor X = at::matmul(at::randn({400, columns}), at::randn({columns, columns}));
    H = at::mm(X.t(), X).to(at::kDouble);
    stats = {.column_norms = H.diagonal().sqrt().to(at::kFloat), .inverse_factor = inverse_factor(H).U};
  }
  double error(const at::Tensor& V) const {
    const at::Tensor E = (V - W).to(at::kDouble);
    return (at::mm(E, H) * E).sum().item<double>();
  }
};

TEST(InverseFactor, IsTheUpperCholeskyFactorOfTheDampedInverse) {
  const Correlated c(4, 24);
  const at::Tensor U = inverse_factor(c.H, 0.1).U.to(at::kDouble);
  const at::Tensor damped = c.H + 0.1 * c.H.diagonal().mean() * at::eye(24, at::kDouble);
  EXPECT_TRUE(at::allclose(at::mm(at::mm(U.t(), U), damped), at::eye(24, at::kDouble), 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(U, U.triu()));
}

TEST(InverseFactor, RaisesTheDampingOfASingularMatrixAndGivesUpOnNan) {
  at::Tensor H = at::ones({8, 8}, at::kDouble);
  H.diagonal().sub_(1e-1);  // indefinite: damping 0.01 is not enough, 0.1 and more is
  EXPECT_GT(inverse_factor(H, 0.01).used, 0.05);
  EXPECT_THROW(inverse_factor(at::full({4, 4}, NAN, at::kDouble)), Error);
}

/// The sweep of the paper, written out weight by weight in fp64.
at::Tensor plain_sweep(const at::Tensor& W, const at::Tensor& retained, const at::Tensor& U) {
  at::Tensor V = W.to(at::kDouble).clone();
  const at::Tensor u = U.to(at::kDouble);
  for (int64_t j = 0; j < V.size(1); ++j) {
    for (int64_t i = 0; i < V.size(0); ++i) {
      if (retained[i][j].item<bool>()) continue;
      const double error = (V[i][j] / u[j][j]).item<double>();
      V[i].narrow(0, j, V.size(1) - j).sub_(u[j].narrow(0, j, V.size(1) - j), error);
      V[i][j].zero_();
    }
  }
  return V;
}

class SparseGptTest : public ::testing::TestWithParam<sparsity::Pattern> {};

TEST_P(SparseGptTest, MovesWeightsAsTheSweepSaysAndBeatsItsOwnMask) {
  const Correlated c(6, 160);  // more than one block of 128 columns
  const Pruned pruned = prune(sparsegpt(), c.W, c.stats, GetParam(), sparsegpt().group);
  EXPECT_TRUE(at::allclose(pruned.W.to(at::kDouble),
                           plain_sweep(c.W, pruned.mask.retained, c.stats.inverse_factor), 1e-3, 1e-3));
  sparsity::check_respected(pruned.W, pruned.mask, "W");
  EXPECT_EQ(pruned.mask.retained.logical_not().sum().item<int64_t>(),
            sparsity::expected_zeros(6, 160, GetParam(), sparsegpt().group));
  // Above a sparsity of one half, the last columns of so narrow a matrix have too few columns to their right.
  if (sparsity::zero_fraction(GetParam()) > 0.5) return;
  EXPECT_LT(c.error(pruned.W), 0.7 * c.error(c.W * pruned.mask.retained));
  const Pruned by_wanda = prune(wanda(), c.W, c.stats, GetParam(), Group::kRow);
  EXPECT_LT(c.error(pruned.W), 0.7 * c.error(by_wanda.W));
}

INSTANTIATE_TEST_SUITE_P(Patterns, SparseGptTest,
                         ::testing::Values(sparsity::Pattern(Unstructured{0.5}), Unstructured{0.7},
                                           sparsity::NofM{2, 4}, sparsity::NofM{1, 5}, sparsity::NofM{5, 8}));

TEST(SparseGpt, CountsExactZerosByRowAndSparesInputsThatFire) {
  Correlated c(6, 160);
  const Pruned pruned = prune(sparsegpt(), c.W, c.stats, Unstructured{0.3}, Group::kRow);
  EXPECT_TRUE(at::equal(pruned.mask.retained.sum(1), at::full({6}, 160 - 48, at::kLong)));
  c.stats.column_norms[7] = 0;  // an input that is always zero is removed first
  const Pruned dead = prune(sparsegpt(), c.W, c.stats, Unstructured{0.3}, Group::kRow);
  EXPECT_EQ(dead.mask.retained.select(1, 7).sum().item<int64_t>(), 0);
}

TEST(SparseGpt, RefusesMissingGrams) {
  EXPECT_THROW(
      prune(sparsegpt(), at::ones({2, 4}), {.column_norms = at::ones(4)}, Unstructured{0.5}, Group::kRow),
      Error);
}

/// Cases that calibration sets and models bring: few tokens, an input that is always zero, a row of zeros.
struct Degenerate {
  at::Tensor W, X;
  explicit Degenerate(int64_t repeats = 1) {
    at::manual_seed(11);
    W = at::randn({6, 32});
    W[2].zero_();
    X = at::randn({5, 32});  // fewer tokens than inputs
    X.select(1, 7).zero_();
    X = X.repeat({repeats, 1});  // the same windows again
  }
  Pruned prune_by(const Criterion& criterion) const {
    const at::Tensor H = at::mm(X.t(), X).to(at::kDouble);
    RandomStream stream(0, "mask");
    return prune(criterion, W,
                 {.column_norms = H.diagonal().sqrt().to(at::kFloat),
                  .inverse_factor = inverse_factor(H).U,
                  .random = &stream},
                 Unstructured{0.5}, Group::kRow);
  }
};

TEST(EveryCriterion, GivesExactZerosAndFiniteWeightsOnDegenerateInput) {
  for (const Criterion* criterion : all_criteria()) {
    const Pruned pruned = Degenerate().prune_by(*criterion);
    EXPECT_TRUE(at::equal(pruned.mask.retained.sum(1), at::full({6}, 16, at::kLong))) << criterion->name;
    EXPECT_TRUE(pruned.W.isfinite().all().item<bool>()) << criterion->name;
    sparsity::check_respected(pruned.W, pruned.mask, "W");
    EXPECT_EQ(pruned.W[2].abs().max().item<float>(), 0.0F) << criterion->name;
    if (!criterion->needs_inputs()) continue;
    // weights of an input that is always zero are removed first; in the row of zeros all scores are equal
    const at::Tensor dead = pruned.mask.retained.select(1, 7);
    EXPECT_EQ((dead.sum() - dead[2].to(at::kLong)).item<int64_t>(), 0) << criterion->name;
  }
}

TEST(EveryCriterion, WindowsThatRepeatChangeNothing) {
  for (const Criterion* criterion : all_criteria()) {
    const Pruned once = Degenerate(1).prune_by(*criterion);
    const Pruned thrice = Degenerate(3).prune_by(*criterion);
    EXPECT_TRUE(at::equal(once.mask.retained, thrice.mask.retained)) << criterion->name;
    EXPECT_TRUE(at::allclose(once.W, thrice.W, 1e-3, 1e-4)) << criterion->name;
  }
}

TEST(Magnitude, ComparesAcrossRows) {
  const at::Tensor W = at::tensor({-9.0F, 8.0F, 1.0F, -2.0F}).view({2, 2});
  const at::Tensor retained = prune(magnitude(), W, {}, Unstructured{0.5}, magnitude().group).mask.retained;
  EXPECT_TRUE(at::equal(retained, at::tensor({1, 1, 0, 0}).view({2, 2}).to(at::kBool)));
}

TEST(RowWeights, DecideBetweenRowsAndNotWithinOne) {
  const at::Tensor W = at::tensor({4.0F, 3.0F, 2.0F, 1.0F}).view({2, 2});
  CalibrationStats stats{.column_norms = at::tensor({1.0F, 1.0F}), .row_weights = at::tensor({1.0F, 10.0F})};
  // scores 4, 3, 20, 10
  const at::Tensor retained = prune(wanda(), W, stats, Unstructured{0.5}, Group::kMatrix).mask.retained;
  EXPECT_TRUE(at::equal(retained, at::tensor({0, 0, 1, 1}).view({2, 2}).to(at::kBool)));
  const at::Tensor by_row = prune(wanda(), W, stats, Unstructured{0.5}, Group::kRow).mask.retained;
  EXPECT_TRUE(at::equal(by_row, at::tensor({1, 0, 1, 0}).view({2, 2}).to(at::kBool)));
  stats.row_weights = at::ones(3);
  EXPECT_THROW(prune(wanda(), W, stats, Unstructured{0.5}, Group::kMatrix), Error);
}

TEST(RowWeights, AreSquaredForSparseGptAsItsScoreIs) {
  Correlated c(6, 160);
  const at::Tensor plain = prune(sparsegpt(), c.W, c.stats, Unstructured{0.5}, Group::kMatrix).mask.retained;
  c.stats.row_weights = at::tensor({1.0F, 1.0F, 1.0F, 1.0F, 1.0F, 1e3F});
  const Pruned weighed = prune(sparsegpt(), c.W, c.stats, Unstructured{0.5}, Group::kMatrix);
  EXPECT_EQ(weighed.mask.retained.select(0, 5).sum().item<int64_t>(),
            160);  // the row with the large weight keeps all
  EXPECT_LT(plain.select(0, 5).sum().item<int64_t>(), 160);
  EXPECT_EQ(weighed.mask.retained.sum().item<int64_t>(), 480);
  // the same weight for all rows changes nothing
  c.stats.row_weights = at::full({6}, 7.0F);
  EXPECT_TRUE(
      at::equal(prune(sparsegpt(), c.W, c.stats, Unstructured{0.5}, Group::kMatrix).mask.retained, plain));
}

TEST(Random, RepeatsWithItsSeedAndIgnoresTheWeights) {
  const auto mask = [](uint64_t seed, double scale) {
    RandomStream stream(seed, "mask");
    return prune(random(), at::ones({8, 8}) * scale, {.random = &stream}, Unstructured{0.5}, Group::kMatrix)
        .mask.retained;
  };
  EXPECT_TRUE(at::equal(mask(1, 1), mask(1, 5)));
  EXPECT_FALSE(at::equal(mask(1, 1), mask(2, 1)));
  EXPECT_EQ(mask(1, 1).sum().item<int64_t>(), 32);
}

TEST(CriterionNamed, ListsWhatThereIs) {
  for (const Criterion* c : all_criteria()) EXPECT_EQ(&criterion_named(c->name), c);
  try {
    criterion_named("wander");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("wanda"), std::string::npos);
  }
}

TEST(AddCriterion, MakesACriterionOfTheCallersKnown) {
  static const Criterion largest{.name = "test-largest",
                                 .score = [](const at::Tensor& W, const CalibrationStats&) { return W; }};
  add_criterion(largest);
  EXPECT_EQ(&criterion_named("test-largest"), &largest);
  EXPECT_NE(criterion_names().find("sparsegpt, test-largest"), std::string::npos);
  const at::Tensor W = at::tensor({-3.0F, 1.0F, 2.0F, -4.0F}).view({1, 4});
  const at::Tensor retained = prune(largest, W, {}, Unstructured{0.5}, Group::kRow).mask.retained;
  EXPECT_TRUE(at::equal(retained, at::tensor({0, 1, 1, 0}).view({1, 4}).to(at::kBool)));
}

TEST(AddCriterion, RefusesATakenNameAndACriterionThatCanDoNothingOrTwoThings) {
  const auto score = [](const at::Tensor& W, const CalibrationStats&) { return W; };
  EXPECT_THROW(add_criterion({.name = "wanda", .score = score}), Error);
  EXPECT_THROW(add_criterion({.name = "", .score = score}), Error);
  EXPECT_THROW(add_criterion({.name = "test-nothing"}), Error);
  EXPECT_THROW(add_criterion({.name = "test-both", .score = score, .prune = sparsegpt().prune}), Error);
  EXPECT_THROW(criterion_named("test-nothing"), Error);
}

}  // namespace
}  // namespace freelunch::criteria
