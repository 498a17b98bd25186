#include "freelunch/architecture/weight_role.h"

#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

TEST(WeightRole, TheBiasOfAMatrixIsThatOfTheSameExpert) {
  EXPECT_EQ(bias_of(WeightRole::kQuery), WeightRole::kQueryBias);
  EXPECT_EQ(bias_of(WeightRole::kMlpNorm), WeightRole::kMlpNormBias);
  EXPECT_EQ(bias_of({WeightRole::kDown, 3}), WeightRole(WeightRole::kDownBias, 3));
}

TEST(WeightRole, ARoleWithoutABiasIsRefused) {
  for (const WeightRole::Kind kind : {WeightRole::kQueryNorm, WeightRole::kKeyNorm, WeightRole::kRouter,
                                      WeightRole::kEmbedding, WeightRole::kQueryBias})
    EXPECT_THROW(bias_of(kind), Error) << kind;
}

TEST(WeightRole, OnlyTensorsOfABlockHaveASublayer) {
  EXPECT_EQ(sublayer_of(WeightRole::kAttentionPostNorm), Sublayer::kAttention);
  EXPECT_EQ(sublayer_of(WeightRole::kRouter), Sublayer::kMlp);
  EXPECT_FALSE(is_in_block(WeightRole::kFinalNorm));
  EXPECT_FALSE(is_in_block(WeightRole::kHead));
  EXPECT_TRUE(is_in_block(WeightRole::kAttentionNorm));
  EXPECT_THROW(sublayer_of(WeightRole::kHead), Error);
}

TEST(WeightRole, SevenMatricesArePrunedAndNormsAreNot) {
  int prunable = 0;
  for (int kind = WeightRole::kEmbedding; kind <= WeightRole::kMlpPostNorm; ++kind) {
    const WeightRole role = static_cast<WeightRole::Kind>(kind);
    prunable += is_prunable(role) ? 1 : 0;
    EXPECT_FALSE(is_prunable(role) && is_norm(role)) << kind;
  }
  EXPECT_EQ(prunable, 7);
  EXPECT_FALSE(is_prunable(WeightRole::kRouter));
  EXPECT_TRUE(is_norm(WeightRole::kFinalNormBias));
}

TEST(WeightRole, ReportsNameTheExpert) {
  EXPECT_EQ(short_name(WeightRole::kOutput), "o");
  EXPECT_EQ(short_name({WeightRole::kUp, 1}), "experts.1.up");
}

}  // namespace
}  // namespace freelunch::model
