#include "freelunch/pipeline/run_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "freelunch/descent/region.h"
#include "freelunch/pipeline/stages/prune.h"
#include "freelunch/pipeline/stages/whole_model.h"
#include "tiny_model.h"

namespace freelunch::pipeline {
namespace {

using ::testing::ElementsAre;

/// The budgets of the tiny model, worked out by hand: 14 windows of 8 tokens and 2 held out, fp32 on the CPU.
/// Attention has matrices of 256, 128, 128 and 256 weights, the MLP three of 384; the head has 640.
class RunBudgetTest : public ::testing::Test {
 protected:
  RunBudgetTest() {
    plan_.calibration = {.text = "t", .samples = 14, .length = 8, .held_out = 2};
    plan_.pattern = sparsity::Unstructured{0.5};
    plan_.region.epochs = plan_.model_stage.epochs = 1;
  }

  Budget budget(const std::string& repair) const {
    return run_budget(plan_, {.model = *model_, .compute = {}, .sizes = sizes_, .rates = {1, 1, 1}},
                      parse_repair(repair).stages);
  }
  StageBudget stage(const std::string& repair, const std::string& name) const {
    const Budget planned = budget(repair);
    const StageBudget* found = planned.find(name);
    EXPECT_NE(found, nullptr) << name;
    return found != nullptr ? *found : StageBudget{};
  }
  /// Of the choice of masks alone, without the comparison with the dense model at its end.
  StageBudget masks() const {
    return prune_budget(
        CostModel(plan_, {.model = *model_, .compute = {}, .sizes = sizes_, .rates = {1, 1, 1}}, 1),
        /*solve=*/false);
  }
  static int64_t own_bytes(const StageBudget& stage) { return stage.bytes() - stage.runtime; }
  std::vector<std::string> names(const std::string& repair) const {
    std::vector<std::string> names;
    for (const StageBudget& stage : budget(repair).stages) names.push_back(stage.name);
    return names;
  }

  TinyModel model_;
  CompressPlan plan_;
  MeasuredSizes sizes_;
};

constexpr int64_t kStream = 16 * 8 * 16 * 4;  // a residual stream
constexpr int64_t kInner = 16 * 8 * 24 * 4;   // the inputs of the widest second group
constexpr int64_t kPass = 32 * 576;           // of four windows through an attention sublayer
constexpr double kForward = 1792 + 2304;      // operations for a token in a block
constexpr double kAll = 128;                  // tokens, held-out windows included

TEST_F(RunBudgetTest, ListsTheStepsInTheOrderOfTheRun) {
  EXPECT_THAT(names("none"), ElementsAre("prune"));
  EXPECT_THAT(names("sublayer,model"), ElementsAre("prune", "sublayer", "model"));
  sizes_ = {.runtime = 0, .evaluated = 1, .eval_length = 8};
  plan_.allocation = sparsity::Allocation::kOwl;
  plan_.sensitivity = true;
  EXPECT_THAT(names("solve,blocks:2"), ElementsAre("evaluate dense", "allocate", "sensitivity", "solve",
                                                   "evaluate pruned", "blocks:2", "evaluate repaired"));
  plan_.dense = "d";  // a model that came pruned has its masks
  EXPECT_THAT(names("sublayer"),
              ElementsAre("evaluate dense", "evaluate pruned", "sublayer", "evaluate repaired"));
  EXPECT_EQ(budget("none").scratch, 5760 * 9);
}

TEST_F(RunBudgetTest, OfMasksWithoutStatistics) {
  plan_.criterion = "magnitude";
  const StageBudget prune = masks();
  EXPECT_EQ(prune.weights, 1920 * 4 + 1152 * 4);  // a block, and a sublayer cast
  EXPECT_EQ(prune.activations, 0);
  EXPECT_EQ(prune.statistics, 0);
  EXPECT_EQ(prune.workspace, 384 * 3 * 4);  // scores of the largest matrix
  EXPECT_EQ(prune.operations, 0);
  EXPECT_DOUBLE_EQ(prune.seconds, 3 * 12 * 4 * 1920);
}

TEST_F(RunBudgetTest, OfTheComparisonWithTheDenseModel) {
  // a stream of two windows, the head, and 256 rows of two models' logits for a vocabulary of 40
  constexpr int64_t kScoring = 2 * 8 * 16 * 4 + 640 * 4 + 2 * 256 * 40 * 4;
  plan_.criterion = "magnitude";
  EXPECT_EQ(own_bytes(stage("none", "prune")), kScoring);
  const StageBudget sublayer = stage("sublayer", "sublayer");  // a probe needs it next to streams and blocks
  EXPECT_GE(own_bytes(sublayer), sublayer.activations + sublayer.weights + kScoring);
  plan_.calibration.held_out = 0;
  EXPECT_LT(own_bytes(stage("none", "prune")), kScoring);
}

TEST_F(RunBudgetTest, OfMasksByColumnNorms) {
  const StageBudget prune = masks();
  EXPECT_EQ(prune.activations, kStream + kInner);
  EXPECT_EQ(prune.statistics, 0);
  EXPECT_EQ(prune.workspace, kPass);
  EXPECT_DOUBLE_EQ(prune.operations, 3 * kAll * kForward);
}

TEST_F(RunBudgetTest, OfMasksByAGramMatrix) {
  plan_.criterion = "sparsegpt";
  const StageBudget prune = masks();
  EXPECT_EQ(prune.statistics, 24 * 24 * (8 + 4));  // fp64 sums, fp32 ones of held-out windows
  // inputs twice, and a quarter of the products in fp32 and fp64
  EXPECT_EQ(prune.workspace, kPass + 2 * 32 * 24 * 4 + 24 * 24 / 4 * 12);
  const double sums = 1.25 * (3 * 16 * 16 + 24 * 24);  // attention reads 16 and 16, the MLP 16 and 24
  EXPECT_DOUBLE_EQ(prune.operations, 3 * kAll * (kForward + sums));
}

TEST_F(RunBudgetTest, OfSolveOnTwoStreams) {
  plan_.grid.blends = {0, 0.5};
  const StageBudget solve = stage("solve", "solve");
  EXPECT_EQ(solve.weights, 1920 * 4 + 1152 * 4 + 1920 * 4);  // and the dense block
  EXPECT_EQ(solve.activations, 2 * (kStream + kInner));
  EXPECT_EQ(solve.statistics, 2 * 24 * 24 * (8 + 4) + 2 * 24 * 24 * 8);
  EXPECT_EQ(solve.workspace, kPass + 2 * 32 * 24 * 4 + 24 * 24 / 4 * 12);
  EXPECT_GT(solve.operations, 3 * kAll * 2 * kForward);
}

TEST_F(RunBudgetTest, OfAllocation) {
  plan_.allocation = sparsity::Allocation::kOwl;
  const StageBudget allocate = stage("none", "allocate");
  EXPECT_EQ(allocate.weights, 1920 * (4 + 4));  // and its scores
  EXPECT_EQ(allocate.activations, kStream + kInner);
  EXPECT_EQ(allocate.workspace, kPass);
  EXPECT_DOUBLE_EQ(allocate.operations, 3 * kAll * kForward);
}

TEST_F(RunBudgetTest, OfSensitivity) {
  plan_.sensitivity = true;
  const StageBudget sensitivity = stage("solve", "sensitivity");
  EXPECT_EQ(sensitivity.weights, 1920 * 4);
  EXPECT_EQ(sensitivity.activations, kStream);
  EXPECT_EQ(sensitivity.disk, 3 * 14 * 8 * 16 * 2);  // every block's input, bf16, without held-out windows
  const int64_t squares = 256 + 64 + 64 + 256 + 576 + 576 + 256;  // of the matrices' outputs
  EXPECT_EQ(sensitivity.statistics, squares * 8);
  // the head and 256 rows of logits, less what the block has freed by then
  EXPECT_EQ(sensitivity.workspace, 640 * 4 + 256 * 40 * (4 + 12) - 1920 * 4 - squares * 8);
  EXPECT_DOUBLE_EQ(sensitivity.operations,
                   14 * 8 * (3 * 4 * kForward + 8 * 640 + 3 * 1.25 * static_cast<double>(squares)));
}

TEST_F(RunBudgetTest, OfOneMatrixAtATime) {
  const StageBudget matrix = stage("matrix", "matrix");
  EXPECT_EQ(matrix.weights, 1920 * (4 + 4 + 1));  // in fp32 the masters need no cast
  EXPECT_EQ(matrix.optimiser, 384 * (4 + 8) + 384 / 2 * 8);
  EXPECT_EQ(matrix.activations, 2 * kStream + 4 * kInner + 16 * 8 * 16 * 4);
  EXPECT_DOUBLE_EQ(matrix.operations, 3 * (kAll * 3 * kForward + 14 * 8 * 6 * 1920));
  plan_.region.propagation = Propagation::kSparse;
  EXPECT_EQ(stage("matrix", "matrix").activations, kStream + 2 * kInner + 16 * 8 * 16 * 4);
}

TEST_F(RunBudgetTest, OfASublayerAtATime) {
  const StageBudget sublayer = stage("sublayer", "sublayer");
  EXPECT_EQ(sublayer.weights, 1920 * (4 + 4 + 1));
  EXPECT_EQ(sublayer.optimiser, 1152 * (4 + 4) + 1152 / 2 * 10);
  EXPECT_EQ(sublayer.activations, 2 * kStream);
  const int64_t measured = reconstruct::windows_at_a_time(8) * 8;
  EXPECT_EQ(sublayer.workspace, measured * (16 * 16 + 576));
  // two streams and 3 forward passes a trained token, less the gradient of the stream before the norms
  EXPECT_DOUBLE_EQ(sublayer.operations,
                   3 * (2 * kAll * kForward + 14 * 8 * (3 * kForward - 2 * (512 + 768))));
}

TEST_F(RunBudgetTest, OfSeveralBlocksAtATime) {
  const StageBudget two = stage("blocks:2", "blocks:2");
  EXPECT_EQ(two.weights, 2 * 1920 * (4 + 4 + 1));
  EXPECT_EQ(two.optimiser, 2 * (1920 * (4 + 4) + 1920 / 2 * 10));
  EXPECT_EQ(stage("blocks:9", "blocks:9").weights, 3 * 1920 * (4 + 4 + 1));  // no more than there are
}

TEST_F(RunBudgetTest, OfTheWholeModel) {
  const StageBudget model = stage("model", "model");
  EXPECT_EQ(model.weights, (5760 + 640) * 4);
  EXPECT_EQ(model.activations, 16 * 8 * 16 * 2 + 3 * 8 * 16 * 4);
  EXPECT_EQ(model.optimiser, 2880 * 10 + 720);
  EXPECT_EQ(model.disk, 5760 * 4 + 16 * 8 * 16 * 2 + 2 * (model.optimiser + 5760 * 2));
  // bf16 weights and head, optimiser, inputs, hidden states, three graphs, logits, and the process
  const int64_t graph = 8 * (12 * 16 + 12 * 16 + 6 * 24);
  EXPECT_EQ(model.bytes(), 5760 * 2 + 640 * 2 + model.optimiser + model.activations + 3 * graph +
                               2 * 256 * 40 * 2 + (300 << 20));
  EXPECT_DOUBLE_EQ(model.operations, 14 * 8 * (3 * 4 * kForward + 6 * 640));
  EXPECT_EQ(stage("bias-norm", "bias-norm").optimiser, 0);
  EXPECT_GT(stage("lora", "lora").bytes(), stage("bias-norm", "bias-norm").bytes());
}

TEST_F(RunBudgetTest, KeepsTheGraphsOfAllBlocksWhereTheyAreSmall) {
  EXPECT_TRUE(keeps_all_graphs(model_->config(), plan_, {"model"}));
  plan_.model_stage.batch = 2;  // 2 x 3 graphs of 8,448 bytes against 41,040 of weights and optimiser
  EXPECT_FALSE(keeps_all_graphs(model_->config(), plan_, {"model"}));
}

TEST_F(RunBudgetTest, OfAnEvaluation) {
  sizes_ = {.runtime = 0, .evaluated = 5, .eval_length = 32};
  const StageBudget evaluate = stage("none", "evaluate dense");
  EXPECT_EQ(evaluate.activations, 5 * 32 * 16 * 4);
  EXPECT_EQ(evaluate.weights, 640 * 4);  // scoring takes more than the blocks
  EXPECT_EQ(evaluate.workspace, 256 * 40 * 4 + 32 * 16 * 4);
  EXPECT_DOUBLE_EQ(evaluate.operations, 5 * 32 * (3 * (1536 + 2 * 16 * 32 + 2304) + 2 * 640));
}

}  // namespace
}  // namespace freelunch::pipeline
