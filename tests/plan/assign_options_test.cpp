#include "freelunch/plan/assign_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "freelunch/plan/options.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

CompressPlan plan_of(const json& values) {
  CompressPlan plan;
  assign_options(plan, plan_options(), values);
  return plan;
}

std::string refusal(const json& values) {
  try {
    plan_of(values);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(AssignOptions, SetsWhatIsGivenAndLeavesTheRest) {
  const CompressPlan plan = plan_of({{"samples", 3}, {"repair", {"solve", "model"}}, {"sparsity", "25%"}});
  EXPECT_EQ(plan.calibration.samples, 3);
  EXPECT_EQ(plan.repair.stages.size(), 2);
  EXPECT_EQ(sparsity::zero_fraction(pattern_of(plan)), 0.25);
  EXPECT_EQ(plan.calibration.length, CompressPlan().calibration.length);
}

TEST(AssignOptions, TakesNullAsNotGiven) {
  const CompressPlan plan = plan_of({{"samples", nullptr}, {"sparsity", nullptr}, {"pattern", "2:4"}});
  EXPECT_EQ(plan.calibration.samples, CompressPlan().calibration.samples);
  EXPECT_TRUE(std::holds_alternative<sparsity::NofM>(*plan.pattern));
}

TEST(AssignOptions, RefusesWhatACommandLineRefuses) {
  EXPECT_EQ(refusal({{"sampels", 3}}), "there is no option 'sampels'");
  EXPECT_THAT(refusal({{"samples", 0}}), HasSubstr("`samples` is 0, expected an integer from 1"));
  EXPECT_EQ(refusal({{"pattern", "2:4"}, {"sparsity", 0.5}}), "`pattern` excludes `sparsity`");
  EXPECT_EQ(refusal({{"sensitivity-damping", 0.1}}), "`sensitivity-damping` requires `sensitivity`");
  EXPECT_THAT(refusal({{"pattern", "0.5"}}), HasSubstr("for a fraction of zeros use `sparsity`"));
}

}  // namespace
}  // namespace freelunch::pipeline
