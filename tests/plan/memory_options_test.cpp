#include "freelunch/plan/memory_options.h"

#include <gtest/gtest.h>

namespace freelunch::pipeline {
namespace {

TEST(Bytes, AreReadWithTheirUnit) {
  EXPECT_EQ(bytes_in("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(bytes_in("700MB"), 700000000);
  EXPECT_EQ(bytes_in("1.5G"), 1500000000);
  EXPECT_EQ(bytes_in("512MiB"), int64_t{512} << 20);
  EXPECT_EQ(bytes_in("800000000"), 800000000);
  for (const char* bad : {"", "GB", "-1GB", "0", "2gb", "2 GB", "1e30", "nan", "inf", "2GBs"})
    EXPECT_FALSE(bytes_in(bad)) << bad;
}

TEST(Bytes, AreWrittenInPowersOfTen) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(256), "256 B");
  EXPECT_EQ(bytes_text(1152), "1 kB");
  EXPECT_EQ(bytes_text(999600), "1 MB");
  EXPECT_EQ(bytes_text(84000000), "84 MB");
  EXPECT_EQ(bytes_text(999600000), "1.00 GB");
  EXPECT_EQ(bytes_text(1610000000), "1.61 GB");
}

TEST(Activations, AreResolvedForTheStages) {
  const auto settings = activation_settings(
      {.activations = model::ActivationPlacement::kDisk, .activation_dtype = at::kBFloat16, .limit = {}},
      "folder");
  EXPECT_EQ(settings.placement, model::ActivationPlacement::kDisk);
  EXPECT_EQ(settings.dtype, at::kBFloat16);
  EXPECT_EQ(activation_settings({}, "folder").placement, model::ActivationPlacement::kMemory);
  EXPECT_EQ(activation_settings({}, "folder").dtype, at::kFloat);
}

}  // namespace
}  // namespace freelunch::pipeline
