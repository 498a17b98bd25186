#include "freelunch/architecture/shape.h"

#include <gtest/gtest.h>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

/// Llama 3.1 8B.
Config llama_8b() {
  return {.architecture = "llama",
          .vocabulary = 128256,
          .width = 4096,
          .embedding_width = 4096,
          .intermediate = 14336,
          .blocks = 32,
          .heads = 32,
          .kv_heads = 8,
          .head_dim = 128};
}

std::string refusal(const Config& config, const ShapeRequest& request) {
  try {
    shrunk(config, request);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(Shape, SharesAreRoundedToWholeTilesAndNumbersAreTaken) {
  EXPECT_EQ(shrunk(llama_8b(), {.mlp = 0.7}).intermediate, 9984);  // 39 x 256, 10035.2 asked
  EXPECT_EQ(shrunk(llama_8b(), {.mlp = 10016}).intermediate, 10016);
  EXPECT_NE(refusal(llama_8b(), {.mlp = 9990}).find("the nearest is 9984"), std::string::npos);
  EXPECT_NE(refusal(llama_8b(), {.mlp = 0.999}).find("the largest size below is 14080"), std::string::npos);
  EXPECT_NE(refusal(llama_8b(), {.mlp = 1.5}), "");
}

TEST(Shape, HeadsFollowTheRulesOfTheEngines) {
  const Config half = shrunk(llama_8b(), {.kv_groups = 4});
  EXPECT_EQ(half.heads, 16);
  EXPECT_EQ(half.head_dim, 128);
  EXPECT_EQ(half.architecture, "llama");
  EXPECT_EQ(shrunk(llama_8b(), {.kv_groups = 6}).architecture, "mistral");
  EXPECT_EQ(shrunk(llama_8b(), {.heads = 24}).kv_heads, 8);
  EXPECT_NE(refusal(llama_8b(), {.heads = 20}).find("the nearest that works is 16"), std::string::npos);
  Config odd = llama_8b();
  odd.heads = odd.kv_heads = 24;  // as it came: nothing is said about it
  EXPECT_EQ(shrunk(odd, {.mlp = 0.5}).architecture, "llama");
  Config biased = llama_8b();
  biased.qkv_bias = true;  // a mistral has none
  EXPECT_NE(refusal(biased, {.kv_groups = 6}).find("the nearest that works is 4"), std::string::npos);
  Config qwen2 = llama_8b();
  qwen2.architecture = "qwen2";
  EXPECT_NE(refusal(qwen2, {.kv_groups = 4}).find("no head can be removed"), std::string::npos);
}

TEST(Shape, ATokenNeedsItsExperts) {
  Config mixtral = llama_8b();
  mixtral.architecture = "mixtral";
  mixtral.experts = {.count = 8, .chosen = 2, .intermediate = 14336};
  EXPECT_EQ(shrunk(mixtral, {.experts = 6}).experts.count, 6);
  EXPECT_NE(refusal(mixtral, {.experts = 1}).find("the least is 2"), std::string::npos);
  EXPECT_EQ(shrunk(mixtral, {.mlp = 0.5}).experts.intermediate, 7168);
  EXPECT_EQ(shrunk(mixtral, {.mlp = 0.5}).intermediate, 7168);  // config.json has one number for both
}

TEST(Shape, TheChangeIsSaidInWords) {
  EXPECT_EQ(shape_change(llama_8b(), shrunk(llama_8b(), {.mlp = 0.5, .kv_groups = 6})),
            "MLP channels 14336 -> 7168, query heads 32 -> 24, KV heads 8 -> 6, saved as mistral");
}

}  // namespace
}  // namespace freelunch::model
