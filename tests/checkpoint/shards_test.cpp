#include "freelunch/checkpoint/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace freelunch::checkpoint {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Shards, GroupsAreFilledInOrder) {
  EXPECT_THAT(group_by_size({}, 10), IsEmpty());
  EXPECT_THAT(group_by_size(std::vector<uint64_t>{4, 6, 1, 9, 1}, 10), ElementsAre(0, 0, 1, 1, 2));
  EXPECT_THAT(group_by_size(std::vector<uint64_t>{11, 1, 30, 2}, 10), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(group_by_size(std::vector<uint64_t>{4, 6, 1}, UINT64_MAX), ElementsAre(0, 0, 0));
}

TEST(Shards, NamesAndIndexAreThoseOfTransformers) {
  EXPECT_EQ(shard_name("model", ".safetensors", 0, 1), "model.safetensors");
  EXPECT_EQ(shard_name("model", ".safetensors", 1, 12), "model-00002-of-00012.safetensors");
  EXPECT_EQ(
      safetensors_index({{"a", "x"}}, 7),
      "{\n  \"metadata\": {\n    \"total_size\": 7\n  },\n  \"weight_map\": {\n    \"a\": \"x\"\n  }\n}\n");
}

}  // namespace
}  // namespace freelunch::checkpoint
