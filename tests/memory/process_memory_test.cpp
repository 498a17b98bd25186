#include "freelunch/memory/process_memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace freelunch::pipeline {
namespace {

constexpr int64_t kMiB = 1 << 20;

TEST(ProcessMemory, SeesABlockComeAndGo) {
  const int64_t before = resident_bytes();
  if (before == 0) GTEST_SKIP() << "the system does not report resident memory";
  {
    const std::vector<char> block(64 * kMiB, 1);
    EXPECT_GT(resident_bytes(), before + 60 * kMiB);
    EXPECT_EQ(block.back(), 1);
  }
  release_freed_memory();
  EXPECT_LT(resident_bytes(), before + 16 * kMiB);
  EXPECT_GT(peak_resident_bytes(), before + 60 * kMiB);
}

TEST(ProcessMemory, KnowsWhatTheMachineHasLeft) {
  if (resident_bytes() == 0) GTEST_SKIP() << "the system does not report memory";
  EXPECT_GT(available_bytes(), kMiB);
}

}  // namespace
}  // namespace freelunch::pipeline
