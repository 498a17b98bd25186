#include "freelunch/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace freelunch {
namespace {

TEST(RandomStream, FirstNumberIsSplitMix64OfSeedXorNameHash) {
  // SplitMix64 started at 0 gives 0xe220a8397b1dcdaf (reference implementation by Vigna); the seed cancels
  // the FNV-1a offset basis that an empty name hashes to.
  RandomStream stream(0xcbf29ce484222325ULL, "");
  EXPECT_EQ(stream.next(), 0xe220a8397b1dcdafULL);
  EXPECT_EQ(stream.next(), 0x6e789e6aa1b965f4ULL);
}

TEST(RandomStream, NamesGiveIndependentStreamsAndSeedsRepeat) {
  RandomStream a(7, "order");
  RandomStream b(7, "order");
  RandomStream c(7, "noise");
  EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
}

TEST(RandomStream, PermutationHoldsEveryIndexOnce) {
  RandomStream stream(1, "p");
  auto order = stream.permutation(100);
  std::vector<int64_t> expected(100);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_NE(order, expected);
  std::sort(order.begin(), order.end());
  EXPECT_EQ(order, expected);
}

TEST(RandomStream, UniformStaysInItsRangeAndHasTheRightMean) {
  RandomStream stream(3, "u");
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    const double u = stream.uniform();
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

}  // namespace
}  // namespace freelunch
