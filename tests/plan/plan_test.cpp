#include "freelunch/plan/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

using ::testing::ElementsAre;

TEST(Repair, ReadsListsOfStages) {
  EXPECT_TRUE(parse_repair("auto").automatic);
  EXPECT_TRUE(parse_repair("none").stages.empty());
  EXPECT_THAT(parse_repair("solve,sublayer,model").stages,
              ElementsAre(Stage{"solve"}, Stage{"sublayer"}, Stage{"model"}));
  EXPECT_THAT(parse_repair("block,blocks:5").stages, ElementsAre(Stage{"block", 1}, Stage{"block", 5}));
  EXPECT_THAT(parse_repair("half").stages, ElementsAre(Stage{"sublayer"}));
  for (const char* text : {"none", "solve", "sublayer,model", "block,blocks:3", "bias-norm"}) {
    EXPECT_EQ(to_string(parse_repair(text).stages), text);
  }
  for (const char* bad :
       {"", ",", "solve,", "solve,,model", "sublayer,sublayer", "half,sublayer", "block,blocks:1", "blocks:0",
        "blocks:-1", "blocks:", "blocks:2x", "block:2", "s:2", ":2"}) {
    EXPECT_THROW(parse_repair(bad), Error) << bad;
  }
}

TEST(Compute, ResolvesNamesAndRefusesOthers) {
  EXPECT_EQ(backend::resolve({.device = "cpu", .compute = "fp32"}).dtype, at::kFloat);
  EXPECT_EQ(backend::resolve({.device = "cpu", .compute = "bf16"}).dtype, at::kBFloat16);
  for (const char* bad : {"gpu", "cuda:x", "cuda-1", "cuda:"}) {
    EXPECT_THROW(backend::resolve({.device = bad}), Error) << bad;
  }
  EXPECT_THROW(backend::resolve({.device = "cpu", .compute = "fp8"}), Error);
}

/// The plan of a sensible command, for tests that break one thing.
CompressPlan sensible() {
  CompressPlan plan{.model = "m", .output = "o"};
  plan.calibration.text = "t";
  return plan;
}

void expect_refused(const CompressPlan& plan, const std::string& reason) {
  try {
    validate(plan);
    FAIL() << reason;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
  }
}

TEST(Plan, RefusesContradictionsWithTheReason) {
  CompressPlan plan = sensible();
  plan.sensitivity = true;
  EXPECT_NO_THROW(validate(plan));
  plan.sensitivity_masks = true;
  expect_refused(plan, "`group` matrix");  // wanda compares within a row
  plan.group = sparsity::Group::kMatrix;
  EXPECT_NO_THROW(validate(plan));
  plan.group.reset();
  plan.criterion = "sparsegpt";
  EXPECT_NO_THROW(validate(plan));
  plan.pattern = sparsity::NofM{};
  expect_refused(plan, "of one row");
  plan.pattern = sparsity::Unstructured{};
  plan.criterion = "random";
  expect_refused(plan, "random");
  plan.criterion = "magnitude";
  plan.dense = "d";
  expect_refused(plan, "came with its own masks");
  plan.dense.clear();
  plan.sensitivity = false;
  expect_refused(plan, "`sensitivity` kronecker");
  plan = sensible();
  for (const double bad : {0.0, -1.0, std::nan(""), 1e9}) {
    plan.sensitivity_damping = bad;
    expect_refused(plan, "`sensitivity-damping`");
  }

  plan = sensible();
  plan.grid.blends = {0, 0.5};
  EXPECT_NO_THROW(validate(plan));
  plan.statistics = StatisticsSource::kDense;
  expect_refused(plan, "`statistics` dense");

  plan = sensible();
  plan.allocation = sparsity::Allocation::kOwl;
  EXPECT_NO_THROW(validate(plan));
  plan.pattern = sparsity::NofM{};
  expect_refused(plan, "owl");

  plan = sensible();
  plan.repair = parse_repair("none");
  plan.region.propagation = Propagation::kDense;
  expect_refused(plan, "`propagation`");

  plan = sensible();
  plan.dense = "d";
  EXPECT_NO_THROW(validate(plan));
  plan.repair = parse_repair("none");
  expect_refused(plan, "nothing to do");
}

TEST(Plan, NeedsATextForRepairAndForCriteriaThatLookAtInputs) {
  CompressPlan plan{.model = "m", .output = "o"};
  expect_refused(plan, "repair needs a `calibration` text");
  plan.repair = parse_repair("none");
  expect_refused(plan, "criterion wanda needs a `calibration` text");
  plan.criterion = "magnitude";
  EXPECT_NO_THROW(validate(plan));
}

TEST(Plan, RefusesAGgufFileAsOutputFolder) {
  CompressPlan plan = sensible();
  plan.output = "model.gguf";
  expect_refused(plan, "`format` gguf");
}

TEST(Plan, AModelThatIsNotThereIsABadFile) {
  CompressPlan plan = sensible();
  try {
    require_models(plan);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
    EXPECT_STREQ(error.what(), "model 'm' does not exist");
  }
}

}  // namespace
}  // namespace freelunch::pipeline
