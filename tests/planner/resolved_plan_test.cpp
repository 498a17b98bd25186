#include "freelunch/planner/resolved_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "freelunch/base/error.h"
#include "tiny_model.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationPlacement;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kMegabyte = 1'000'000;

struct Lines final : LogSink {
  std::vector<std::pair<LogLevel, std::string>> lines;
  void log(LogLevel level, std::string_view line) override { lines.emplace_back(level, line); }
};

/// 100 MB for each stage, 40 for fp32 streams in memory, half of that in bf16, 10 for each window of a step.
Budget budget_of(const CompressPlan& plan, const std::vector<Stage>& stages) {
  StageBudget stage{.name = stages.back().name};
  stage.weights = 100 * kMegabyte * static_cast<int64_t>(stages.size());
  stage.workspace = 10 * kMegabyte * plan.region.batch;
  const int64_t streams = (plan.memory.activation_dtype == at::kBFloat16 ? 20 : 40) * kMegabyte;
  if (plan.memory.activations == ActivationPlacement::kDisk)
    stage.disk = streams;
  else
    stage.activations = streams;
  return {.stages = {stage}, .scratch = 0};
}

class ResolvedPlanTest : public ::testing::Test {
 protected:
  ResolvedPlanTest() {
    plan_.calibration.text = "t";
    plan_.repair = {.automatic = false, .stages = {{"sublayer"}}};
    plan_.region.batch = 2;  // 100 + 40 + 20 MB
  }

  ResolvedPlan resolve(int64_t limit_megabytes) {
    plan_.memory.limit = limit_megabytes * kMegabyte;
    return resolve();
  }
  ResolvedPlan resolve() {
    return resolve_plan(plan_, {.model = *model_, .compute = {}, .sizes = {}, .rates = {}}, &budget_of,
                        {{{"solve"}, {"sublayer"}, {"model"}}, {{"solve"}, {"sublayer"}}}, log_);
  }

  TinyModel model_;
  CompressPlan plan_;
  Lines log_;
};

TEST_F(ResolvedPlanTest, ChangesNothingThatFits) {
  const ResolvedPlan resolved = resolve(160);
  EXPECT_THAT(resolved.changes, IsEmpty());
  EXPECT_THAT(log_.lines, IsEmpty());
  EXPECT_EQ(resolved.plan.memory.activations, ActivationPlacement::kMemory);
  EXPECT_EQ(resolved.plan.memory.activation_dtype, at::kFloat);
  EXPECT_EQ(resolved.plan.region.batch, 2);
  EXPECT_EQ(resolved.budget.peak().bytes(), 160 * kMegabyte);
  EXPECT_THAT(resolved.stages, ElementsAre(Stage{"sublayer"}));
}

TEST_F(ResolvedPlanTest, TakesFallbacksInOrderAndNoMoreThanItNeeds) {
  EXPECT_THAT(resolve(159).changes, ElementsAre("activations on disk"));
  EXPECT_THAT(resolve(120).changes, ElementsAre("activations on disk"));
  const ResolvedPlan tight = resolve(110);
  EXPECT_THAT(tight.changes, ElementsAre("activations on disk", "streams in bf16", "one window a step"));
  EXPECT_EQ(tight.plan.memory.activations, ActivationPlacement::kDisk);
  EXPECT_EQ(tight.plan.memory.activation_dtype, at::kBFloat16);
  EXPECT_EQ(tight.plan.region.batch, 1);
  EXPECT_EQ(tight.budget.peak().bytes(), 110 * kMegabyte);
}

TEST_F(ResolvedPlanTest, NeverChangesWhatThePlanAsksForByName) {
  plan_.memory.activations = ActivationPlacement::kMemory;
  EXPECT_THAT(resolve(150).changes, ElementsAre("streams in bf16"));
  plan_.memory.activation_dtype = at::kFloat;
  EXPECT_THAT(resolve(150).changes, ElementsAre("one window a step"));
  EXPECT_THROW(resolve(149), Error);
}

TEST_F(ResolvedPlanTest, HasNoStreamsToMoveWithoutACalibrationText) {
  plan_.calibration.text.clear();
  EXPECT_THAT(resolve(150).changes, ElementsAre("one window a step"));
}

TEST_F(ResolvedPlanTest, RefusesALimitThatNothingFitsAndNamesTheSmallestOne) {
  try {
    resolve(109);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("109 MB"));
    EXPECT_THAT(error.what(), HasSubstr("sublayer"));
    EXPECT_THAT(error.what(), HasSubstr("111MB"));
  }
  EXPECT_NO_THROW(resolve(111));
}

TEST_F(ResolvedPlanTest, ShortensOnlyAnAutomaticRepair) {
  plan_.repair = {.automatic = true, .stages = {}};
  EXPECT_THAT(resolve(360).stages, ElementsAre(Stage{"solve"}, Stage{"sublayer"}, Stage{"model"}));
  EXPECT_THAT(log_.lines, IsEmpty());
  const ResolvedPlan shorter = resolve(260);
  EXPECT_THAT(shorter.stages, ElementsAre(Stage{"solve"}, Stage{"sublayer"}));
  EXPECT_THAT(shorter.changes, ElementsAre("no model stage"));  // with less to hold, streams fit again
  ASSERT_FALSE(log_.lines.empty());
  EXPECT_EQ(log_.lines[0].first, LogLevel::kWarning);
  EXPECT_THAT(log_.lines[0].second, HasSubstr("leaves out the model stage"));
  EXPECT_THROW(resolve(209), Error);
  plan_.repair = {.automatic = false, .stages = {{"solve"}, {"sublayer"}, {"model"}}};
  EXPECT_THROW(resolve(260), Error);
}

TEST_F(ResolvedPlanTest, WithoutALimitMovesStreamsButKeepsDtypeAndBatch) {
  const auto huge = [](const CompressPlan& plan, const std::vector<Stage>& stages) {
    Budget budget = budget_of(plan, stages);
    budget.stages[0].activations *= 1'000'000'000;  // more than any machine has
    return budget;
  };
  const ResolvedPlan resolved =
      resolve_plan(plan_, {.model = *model_, .compute = {}, .sizes = {}, .rates = {}}, huge, {}, log_);
  EXPECT_THAT(resolved.changes, ElementsAre("activations on disk"));
  EXPECT_EQ(resolved.plan.memory.activation_dtype, at::kFloat);
  EXPECT_EQ(resolved.plan.region.batch, 2);
}

}  // namespace
}  // namespace freelunch::pipeline
