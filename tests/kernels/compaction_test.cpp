#include "freelunch/kernels/compaction.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace freelunch::kernels {
namespace {

void expect_round_trip(const Compaction& move) {
  std::mt19937_64 random(7);
  constexpr int64_t kCount = 640;
  std::vector<uint64_t> retained(kCount / 64);
  for (uint64_t& word : retained) word = random() & random();
  retained[0] = ~0ULL;
  retained[1] = 0;
  std::vector<Bf16> row(kCount);
  std::vector<uint32_t> wide(kCount);
  for (int64_t i = 0; i < kCount; ++i) {
    row[i] = static_cast<Bf16>(random() | 1U);
    wide[i] = static_cast<uint32_t>(random() | 1U);
  }
  std::vector<uint32_t> expected, expected_wide;
  for (int64_t i = 0; i < kCount; ++i) {
    if ((retained[i / 64] >> (i % 64) & 1U) == 0) continue;
    expected.push_back(row[i]);
    expected_wide.push_back(wide[i]);
  }
  std::vector<uint32_t> entries(kCount + 16);
  ASSERT_EQ(move.gather(retained.data(), kCount, row.data(), entries.data()),
            static_cast<int64_t>(expected.size()));
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), entries.begin()));
  std::vector<Bf16> back(kCount);
  move.scatter(retained.data(), kCount, entries.data(), back.data());
  ASSERT_EQ(move.gather_fp32(retained.data(), kCount, wide.data(), entries.data()),
            static_cast<int64_t>(expected.size()));
  EXPECT_TRUE(std::equal(expected_wide.begin(), expected_wide.end(), entries.begin()));
  std::vector<uint32_t> back_wide(kCount);
  move.scatter_fp32(retained.data(), kCount, entries.data(), back_wide.data());
  for (int64_t i = 0; i < kCount; ++i) {
    const bool keep = (retained[i / 64] >> (i % 64) & 1U) != 0;
    EXPECT_EQ(back[i], keep ? row[i] : 0);
    EXPECT_EQ(back_wide[i], keep ? wide[i] : 0);
  }
}

TEST(Compaction, PortableGathersTheRetainedAndPutsThemBackWithZerosBetween) {
  expect_round_trip(portable_compaction());
}

TEST(Compaction, Avx512DoesTheSame) {
  if (avx512_compaction() == nullptr) GTEST_SKIP() << "this machine has no AVX-512";
  expect_round_trip(*avx512_compaction());
}

}  // namespace
}  // namespace freelunch::kernels
