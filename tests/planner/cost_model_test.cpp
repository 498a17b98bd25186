#include "freelunch/planner/cost_model.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tiny_model.h"

namespace freelunch::pipeline {
namespace {

/// 14 windows of 8 tokens and 2 held out, on a machine of round rates.
class CostModelTest : public ::testing::Test {
 protected:
  CostModelTest() {
    plan_.calibration = {.text = "t", .samples = 14, .length = 8, .held_out = 2};
    plan_.pattern = sparsity::Unstructured{0.75};
  }

  CostModel cost(int64_t default_epochs = 2) const { return {plan_, inputs_, default_epochs}; }

  TinyModel model_;
  CompressPlan plan_;
  PlanningInputs inputs_{.model = *model_,
                         .compute = {},
                         .sizes = {.runtime = 1000},
                         .rates = {.products = 10, .fp32_products = 5, .bytes = 2}};
};

TEST_F(CostModelTest, ReadsTheSizesOfTheModel) {
  const CostModel cost = this->cost();
  EXPECT_EQ(cost.attention().elements, 256 + 128 + 128 + 256);
  EXPECT_EQ(cost.attention().largest, 256);
  EXPECT_EQ(cost.attention().inner, 16);
  EXPECT_EQ(cost.attention().outputs, 16 + 8 + 8);
  EXPECT_EQ(cost.attention().heads, 16);
  EXPECT_EQ(cost.attention().elements_of_first(16), 512);
  EXPECT_EQ(cost.mlp().elements, 3 * 384);
  EXPECT_EQ(cost.mlp().inner, 24);
  EXPECT_EQ(cost.mlp().outputs, 48);
  EXPECT_EQ(cost.mlp().heads, 0);
  EXPECT_EQ(cost.block_elements(), 1920);
  EXPECT_EQ(cost.sublayer_elements(), 1152);
  EXPECT_EQ(cost.largest_matrix(), 384);
  EXPECT_EQ(cost.model_elements(), 5760);
  EXPECT_EQ(cost.head_elements(), 640);
  EXPECT_EQ(cost.scratch(), 5760 * 9);
  EXPECT_DOUBLE_EQ(cost.density(), 0.25);
  EXPECT_EQ(cost.windows(), 16);
  EXPECT_EQ(cost.trained_windows(), 14);
  EXPECT_DOUBLE_EQ(cost.tokens(), 128);
}

TEST_F(CostModelTest, StartsAStageWithTheProcess) {
  const StageBudget stage = cost().start("a");
  EXPECT_EQ(stage.name, "a");
  EXPECT_EQ(stage.runtime, 1000 + 30'000'000);
  EXPECT_EQ(stage.bytes(), stage.runtime);
}

TEST_F(CostModelTest, CountsThePassAndTheOperationsOfASublayer) {
  const CostModel cost = this->cost();
  EXPECT_EQ(cost.pass(cost.attention(), 10), 10 * (16 * (8 + 8) + (32 + 16 + 32) * 4));
  EXPECT_EQ(cost.pass(cost.mlp(), 10), 10 * (16 * (8 + 8) + (48 + 24) * 4));
  EXPECT_EQ(cost.widest_pass(10), 5760);
  EXPECT_DOUBLE_EQ(cost.forward(cost.attention(), 8), 2 * 768 + 2 * 16 * 8);
  EXPECT_DOUBLE_EQ(cost.forward(cost.mlp(), 8), 2 * 1152);
  EXPECT_DOUBLE_EQ(cost.forward_block(8), 1792 + 2304);
  EXPECT_EQ(cost.softmax(256), 0);  // our CPU kernels work in place
  inputs_.compute.dtype = at::kBFloat16;
  EXPECT_EQ(this->cost().pass(cost.mlp(), 10), 10 * (16 * (8 + 4) + (48 + 24) * 2));
}

TEST_F(CostModelTest, KeepsStreamsInMemoryOrABatchOfThemWithTheRestOnDisk) {
  StageBudget memory;
  cost().add_streams(memory, 2, 24, at::kBFloat16);
  EXPECT_EQ(memory.activations, 2 * 16 * 8 * 24 * 2);
  EXPECT_EQ(memory.disk, 0);
  plan_.memory.activations = model::ActivationPlacement::kDisk;
  StageBudget disk;
  cost().add_streams(disk, 2, 24, at::kBFloat16);
  EXPECT_EQ(disk.activations, 2 * 2 * kWindowsPerPass * 8 * 24 * 2);
  EXPECT_EQ(disk.disk, memory.activations);
  plan_.memory.activations = model::ActivationPlacement::kHost;  // on the CPU the same as memory
  StageBudget host;
  cost().add_streams(host, 2, 24, at::kBFloat16);
  EXPECT_EQ(host.activations, memory.activations);
  EXPECT_EQ(host.host, 0);
}

TEST_F(CostModelTest, KeepsResidualStreamsInTheDtypeOfThePlan) {
  StageBudget wide, narrow;
  cost().add_residual_streams(wide, 1);
  EXPECT_EQ(wide.activations, 16 * 8 * 16 * 4);
  plan_.memory.activation_dtype = at::kBFloat16;
  cost().add_residual_streams(narrow, 1);
  EXPECT_EQ(2 * narrow.activations, wide.activations);
}

TEST_F(CostModelTest, TurnsOperationsIntoSecondsAtTheMeasuredRates) {
  StageBudget stage;
  cost().spend(stage, 100, 50, 8);
  EXPECT_DOUBLE_EQ(stage.operations, 150);
  EXPECT_DOUBLE_EQ(stage.seconds, 100 / (10 * 0.5) + 50 / 5.0 + 8 / 2.0);
}

TEST_F(CostModelTest, TrainsForTheEpochsOfThePlanOrTheDefault) {
  EXPECT_EQ(cost(2).model_epochs(), 2);
  EXPECT_DOUBLE_EQ(cost(2).region_training().tokens, 14 * 8 * 2);
  EXPECT_DOUBLE_EQ(cost(2).region_training().steps, 2 * 14);
  plan_.region.epochs = 3;
  plan_.region.batch = 4;
  EXPECT_DOUBLE_EQ(cost(2).region_training().tokens, 14 * 8 * 3);
  EXPECT_DOUBLE_EQ(cost(2).region_training().steps, 3 * 4);  // the last of four batches is smaller
  EXPECT_EQ(cost(2).model_epochs(), 2);
}

TEST_F(CostModelTest, PlansNoWindowsWithoutACalibrationText) {
  plan_.calibration.text.clear();
  EXPECT_EQ(cost().windows(), 0);
}

TEST(Budget, AddsUpAndFindsItsPeaks) {
  const StageBudget small{.name = "small", .runtime = 1, .weights = 2, .host = 7, .disk = 5};
  const StageBudget large{.name = "large",
                          .runtime = 1,
                          .weights = 10,
                          .optimiser = 100,
                          .activations = 1000,
                          .statistics = 10000,
                          .workspace = 100000,
                          .host = 3,
                          .disk = 4,
                          .operations = 6,
                          .seconds = 2};
  const Budget budget{.stages = {small, large}, .scratch = 50};
  EXPECT_EQ(large.bytes(), 111111);  // neither host nor disk
  EXPECT_EQ(budget.peak().name, "large");
  EXPECT_EQ(budget.host(), 7);
  EXPECT_EQ(budget.disk(), 55);
  EXPECT_EQ(budget.find("small")->weights, 2);
  EXPECT_EQ(budget.find("none"), nullptr);
  const nlohmann::json json = to_json(budget);
  EXPECT_EQ(json["peak_bytes"], 111111);
  EXPECT_EQ(json["disk_bytes"], 55);
  EXPECT_EQ(json["seconds"], 2.0);
  EXPECT_EQ(json["operations"], 6.0);
  EXPECT_EQ(json["stages"].size(), 2U);
  EXPECT_EQ(to_json(Budget{})["peak_bytes"], 0);
}

}  // namespace
}  // namespace freelunch::pipeline
