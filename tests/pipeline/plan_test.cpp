#include "pipeline/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace freelunch::pipeline {
namespace {

using ::testing::ElementsAre;

TEST(Repair, ReadsListsOfStages) {
  EXPECT_TRUE(parse_repair("auto").automatic);
  EXPECT_TRUE(parse_repair("none").stages.empty());
  EXPECT_THAT(parse_repair("solve,half,model").stages,
              ElementsAre(StageKind::kSolve, StageKind::kHalf, StageKind::kModel));
  EXPECT_THAT(parse_repair("block").stages, ElementsAre(StageKind::kBlock));
  for (const char* bad : {"", "solve,", "half,half", "half,solve", "none,half", "Solve"}) {
    EXPECT_THROW(parse_repair(bad), Error) << bad;
  }
}

TEST(Rates, FollowTheWidthAndNeverExceedTheMeasuredOnes) {
  EXPECT_DOUBLE_EQ(default_region_rate(576), 4e-3);
  EXPECT_DOUBLE_EQ(default_region_rate(64), 4e-3);
  EXPECT_NEAR(default_region_rate(4096), 5.6e-4, 1e-5);
  EXPECT_DOUBLE_EQ(default_model_rate(1152), 1e-4);
}

TEST(Compute, ResolvesNamesAndRefusesOthers) {
  EXPECT_EQ(resolve({.device = "cpu", .compute = "fp32"}).dtype, at::kFloat);
  EXPECT_EQ(resolve({.device = "cpu", .compute = "bf16"}).dtype, at::kBFloat16);
  for (const char* bad : {"gpu", "cuda:x", "cuda-1", "cuda:"}) {
    EXPECT_THROW(resolve({.device = bad}), Error) << bad;
  }
  EXPECT_THROW(resolve({.device = "cpu", .compute = "fp8"}), Error);
}

TEST(Plan, RefusesWhatCannotBeDone) {
  CompressPlan plan{.model = "m", .output = "o"};
  EXPECT_THROW(validate(plan), Error);  // repair needs a text
  plan.calibration.text = "t";
  EXPECT_NO_THROW(validate(plan));
  plan.calibration.samples = 0;
  EXPECT_THROW(validate(plan), Error);
  plan.calibration.samples = 8;
  plan.region.learning_rate = 2.0;
  EXPECT_THROW(validate(plan), Error);
}

}  // namespace
}  // namespace freelunch::pipeline
