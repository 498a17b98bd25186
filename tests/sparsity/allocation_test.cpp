#include "freelunch/sparsity/allocation.h"

#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::sparsity {
namespace {

TEST(Rules, FirstMatchWinsAndTheRestGetsThePattern) {
  const PatternMap map(Unstructured{0.6},
                       {parse_rule("dense=model.layers.0.*"), parse_rule("2:4=*self_attn*")});
  EXPECT_EQ(to_string(map.of("model.layers.0.self_attn.q_proj.weight", 0)), "0%");
  EXPECT_EQ(to_string(map.of("model.layers.3.self_attn.q_proj.weight", 3)), "2:4");
  EXPECT_EQ(to_string(map.of("model.layers.3.mlp.up_proj.weight", 3)), "60%");
}

TEST(Rules, RefuseBadTextAndGlobsThatMatchNothing) {
  for (const char* bad : {"2:4", "=x", "2:4=", "5:4=*", "sublayer=*"})
    EXPECT_THROW(parse_rule(bad), Error) << bad;
  const PatternMap map(Unstructured{0.5}, {parse_rule("2:4=*attention*")});
  EXPECT_THROW(map.check_used({"model.layers.0.self_attn.q_proj.weight"}), Error);
}

TEST(Owl, KeepsMoreWhereOutliersAreAndHoldsTheWhole) {
  const std::vector<double> outliers{0.01, 0.05, 0.03}, weights{100, 300, 100};
  const std::vector<double> fractions = owl_fractions(outliers, weights, 0.7);
  EXPECT_LT(fractions[1], fractions[2]);
  EXPECT_LT(fractions[2], fractions[0]);
  EXPECT_NEAR(fractions[0] - fractions[1], 0.16, 1e-12);  // twice the spread from least to most
  double zeros = 0;
  for (size_t i = 0; i < 3; ++i) zeros += fractions[i] * weights[i];
  EXPECT_NEAR(zeros / 500, 0.7, 1e-12);
  PatternMap map(Unstructured{0.7}, {});
  map.allocate(fractions);
  EXPECT_DOUBLE_EQ(zero_fraction(map.of("w", 1)), fractions[1]);
}

TEST(Owl, IsUniformWithoutOutliersAndRefusesFractionsOutOfRange) {
  EXPECT_EQ(owl_fractions({0.1, 0.1}, {1, 1}, 0.5), (std::vector<double>{0.5, 0.5}));
  EXPECT_THROW(owl_fractions({0.0, 0.1}, {1, 1}, 0.97), Error);
}

}  // namespace
}  // namespace freelunch::sparsity
