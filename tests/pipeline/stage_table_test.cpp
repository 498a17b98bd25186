#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "freelunch/base/error.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(StageTable, HasEachNameOnce) {
  std::set<std::string_view> names;
  for (const StageType* type : all_stages()) EXPECT_TRUE(names.insert(type->name).second) << type->name;
  EXPECT_THAT(names, ElementsAre("bias-norm", "block", "lora", "matrix", "model", "solve", "sublayer"));
}

TEST(StageTable, GivesEveryStageWhatItsScopeNeeds) {
  for (const StageType* type : all_stages()) {
    EXPECT_NE(type->budget, nullptr) << type->name;
    EXPECT_NE(type->run, nullptr) << type->name;
    const bool descends = type->scope != StageScope::kMasks;
    EXPECT_EQ(type->default_rate != nullptr, descends) << type->name;
    if (descends) {
      EXPECT_GT(type->default_rate(1), 0) << type->name;
    }
    EXPECT_EQ(type->trains.has_value(), type->scope == StageScope::kModel) << type->name;
  }
}

TEST(StageTable, ARenamedStageDrawsTheNumbersOfItsFormerName) {
  EXPECT_EQ(random_name({.name = "sublayer"}), "half");
  EXPECT_EQ(random_name({.name = "block", .blocks = 2}), "blocks:2");
}

TEST(StageTable, ReadsBackTheTextOfEachStage) {
  for (const StageType* type : all_stages()) {
    const Stage stage{.name = std::string(type->name), .blocks = type->takes_count ? 3 : 1};
    EXPECT_THAT(parse_repair(to_string(stage)).stages, ElementsAre(stage));
    EXPECT_EQ(&type_of(stage), type);
  }
}

TEST(StageTable, AnUnknownNameIsAnsweredWithAllNames) {
  try {
    type_of({.name = "attention"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("'attention'"));
    EXPECT_THAT(error.what(), HasSubstr("blocks:K"));
    for (const StageType* type : all_stages()) EXPECT_THAT(error.what(), HasSubstr(std::string(type->name)));
  }
}

TEST(StageTable, KnowsWhatEachStageWorksOn) {
  EXPECT_TRUE(works_on_masks(parse_repair("solve,sublayer").stages));
  EXPECT_FALSE(works_on_masks(parse_repair("sublayer").stages));
  EXPECT_FALSE(works_on_masks({}));
  for (const char* local : {"matrix", "sublayer", "block"}) {
    EXPECT_TRUE(is_local({.name = local})) << local;
    EXPECT_FALSE(is_global({.name = local})) << local;
  }
  EXPECT_EQ(trained_by({.name = "model"}), reconstruct::Trains::kRetained);
  EXPECT_EQ(trained_by({.name = "lora"}), reconstruct::Trains::kLora);
  EXPECT_EQ(trained_by({.name = "bias-norm"}), reconstruct::Trains::kBiasNorm);
}

/// What check_repair says of a repair, with `change` made to the plan; nothing if it accepts it.
std::string complaint(const std::string& repair, const std::function<void(CompressPlan&)>& change = {}) {
  CompressPlan plan;
  plan.repair = parse_repair(repair);
  if (change) change(plan);
  try {
    check_repair(plan);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "";
}

TEST(CheckRepair, AcceptsTheStagesOfTheTable) {
  for (const char* text :
       {"auto", "none", "solve", "solve,matrix,sublayer,block,blocks:3,model,lora,bias-norm"})
    EXPECT_EQ(complaint(text), "") << text;
  for (const auto& stages : automatic_repairs()) EXPECT_EQ(complaint(to_string(stages)), "");
}

TEST(CheckRepair, RefusesUnknownNamesCountsAndALateSolve) {
  EXPECT_THAT(complaint("Solve"), HasSubstr("solve, matrix"));
  EXPECT_THAT(complaint("none,sublayer"), HasSubstr("'none'"));
  EXPECT_THAT(complaint("sublayers:2"), HasSubstr("takes no count"));
  EXPECT_THAT(complaint("sublayer,solve"), HasSubstr("must come first"));
}

TEST(CheckRepair, RefusesOptionsThatTheStagesCannotUse) {
  const auto sensitivity = [](CompressPlan& plan) { plan.sensitivity = true; };
  EXPECT_THAT(complaint("sublayer", sensitivity), HasSubstr("no solve"));
  EXPECT_EQ(complaint("solve", sensitivity), "");
  EXPECT_EQ(complaint("auto", sensitivity), "");
  const auto next_norm = [](CompressPlan& plan) { plan.region.loss = reconstruct::Loss::kNextNorm; };
  EXPECT_THAT(complaint("matrix", next_norm), HasSubstr("those of stage matrix do not"));
  EXPECT_EQ(complaint("solve,sublayer,block,model", next_norm), "");
}

TEST(Rates, AreRelativeUnlessTheUserNamesOne) {
  using reconstruct::RateUnit;
  CompressPlan plan;
  EXPECT_EQ(peak_rate(plan, {"sublayer"}).unit, RateUnit::kRelative);
  EXPECT_EQ(peak_rate(plan, {"model"}).unit, RateUnit::kRelative);
  EXPECT_GT(peak_rate(plan, {"block", 1}).rate, peak_rate(plan, {"block", 5}).rate);
  EXPECT_EQ(peak_rate(plan, {"solve"}).rate, 0);
  plan.region.learning_rate = 1e-4;
  EXPECT_EQ(peak_rate(plan, {"sublayer"}).unit, RateUnit::kAbsolute);
  EXPECT_EQ(peak_rate(plan, {"sublayer"}).rate, 1e-4);
  EXPECT_EQ(peak_rate(plan, {"model"}).unit, RateUnit::kRelative);
  plan.region.rate_unit = RateUnit::kRelative;
  EXPECT_EQ(peak_rate(plan, {"sublayer"}).unit, RateUnit::kRelative);
}

TEST(StageSettings, AreThoseOfThePlanOrTheDefaults) {
  CompressPlan plan;
  const auto stages = parse_repair("solve,sublayer,lora").stages;
  const auto usual = settings_of(plan, stages);
  ASSERT_EQ(usual.size(), 3U);
  EXPECT_EQ(usual[0].scope, StageScope::kMasks);
  EXPECT_EQ(usual[0].learning_rate, 0);
  EXPECT_EQ(usual[0].epochs, 0);
  EXPECT_EQ(usual[1].scope, StageScope::kRegions);
  EXPECT_DOUBLE_EQ(usual[1].learning_rate, peak_rate(plan, {"sublayer"}).rate);
  EXPECT_EQ(usual[1].rate_unit, reconstruct::RateUnit::kRelative);
  EXPECT_EQ(usual[1].epochs, 1);  // regions and the whole model: one epoch each
  EXPECT_EQ(usual[2].scope, StageScope::kModel);
  EXPECT_EQ(usual[2].trains, reconstruct::Trains::kLora);
  EXPECT_EQ(settings_of(plan, parse_repair("solve,sublayer").stages)[1].epochs, 2);
  plan.region.learning_rate = 1e-5;
  plan.region.epochs = 7;
  plan.model_stage.learning_rate = 1e-6;
  plan.model_stage.epochs = 9;
  const auto asked = settings_of(plan, stages);
  EXPECT_DOUBLE_EQ(asked[1].learning_rate, 1e-5);
  EXPECT_EQ(asked[1].rate_unit, reconstruct::RateUnit::kAbsolute);
  EXPECT_EQ(asked[1].epochs, 7);
  EXPECT_DOUBLE_EQ(asked[2].learning_rate, 1e-6);
  EXPECT_EQ(asked[2].epochs, 9);
}

}  // namespace
}  // namespace freelunch::pipeline
