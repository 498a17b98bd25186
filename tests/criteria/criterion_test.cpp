#include "criteria/criterion.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace freelunch::criteria {
namespace {

using sparsity::Group;
using sparsity::Unstructured;

TEST(Wanda, WeighsEachWeightByTheNormOfItsInput) {
  const at::Tensor W = at::tensor({1.0F, -2.0F, 3.0F, 0.5F}).view({1, 4});
  const Evidence evidence{.column_norms = at::tensor({10.0F, 1.0F, 1.0F, 1.0F})};
  // scores 10, 2, 3, 0.5
  const at::Tensor kept = choose(wanda(), W, evidence, Unstructured{0.5}, Group::kRow).kept;
  EXPECT_TRUE(at::equal(kept, at::tensor({1, 0, 1, 0}).view({1, 4}).to(at::kBool)));
}

TEST(Wanda, RefusesMissingOrWrongNorms) {
  EXPECT_THROW(choose(wanda(), at::ones({2, 4}), {}, Unstructured{0.5}, Group::kRow), Error);
  EXPECT_THROW(
      choose(wanda(), at::ones({2, 4}), {.column_norms = at::ones(3)}, Unstructured{0.5}, Group::kRow),
      Error);
}

TEST(Magnitude, ComparesAcrossRows) {
  const at::Tensor W = at::tensor({-9.0F, 8.0F, 1.0F, -2.0F}).view({2, 2});
  const at::Tensor kept = choose(magnitude(), W, {}, Unstructured{0.5}, magnitude().group).kept;
  EXPECT_TRUE(at::equal(kept, at::tensor({1, 1, 0, 0}).view({2, 2}).to(at::kBool)));
}

TEST(Random, RepeatsWithItsSeedAndIgnoresTheWeights) {
  const auto mask = [](uint64_t seed, double scale) {
    RandomStream stream(seed, "mask");
    return choose(random(), at::ones({8, 8}) * scale, {.random = &stream}, Unstructured{0.5}, Group::kMatrix)
        .kept;
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

}  // namespace
}  // namespace freelunch::criteria
