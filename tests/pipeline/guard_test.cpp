#include "freelunch/pipeline/guard.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "freelunch/model/passes.h"
#include "freelunch/pipeline/dense_divergence.h"
#include "freelunch/pipeline/former_tensors.h"
#include "freelunch/pipeline/repair.h"
#include "freelunch/pipeline/stages/prune.h"
#include "freelunch/pipeline/stages/region_probe.h"
#include "tiny_model.h"

namespace freelunch::pipeline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kWindows = 6;
constexpr int64_t kHeldOut = 2;
constexpr int64_t kLength = 8;

struct Warnings final : LogSink {
  std::vector<std::string> lines;
  void log(LogLevel level, std::string_view line) override {
    if (level == LogLevel::kWarning) lines.emplace_back(line);
  }
};

/// A run of the tiny model, without its staging folder.
class GuardTest : public ::testing::Test {
 protected:
  GuardTest() {
    plan_.criterion = "magnitude";
    plan_.repair = parse_repair("sublayer,model");
    run_.stages = plan_.repair.stages;
    run_.windows = at::randint(40, {kWindows, kLength}, at::kLong);
  }

  const StageRecord& stage() const { return report_.stages.back(); }
  void prune() { choose_masks(run_, patterns_); }
  /// A stage of that name that does `work`.
  void guarded(const std::string& name, const std::function<void()>& work) {
    StageRecord record{.name = name};
    guard_stage(run_, {.name = name}, record, work);
    report_.stages.push_back(record);
  }
  /// Writes each tensor of the blocks, changed by `change`, as stages of regions do.
  void change_regions(const std::function<at::Tensor(const at::Tensor&)>& change) {
    for (int64_t b = 0; b < TinyModel::kBlocks; ++b) {
      model::Block block = run_.current().block(b, at::kCPU, at::kFloat);
      for (const model::ModelTensor* tensor : run_.model().block_tensors(b))
        block.set(*tensor->role, change(block[*tensor->role]));
      for (const model::Sublayer sublayer : model::kSublayers) run_.save_to_scratch(b, block, sublayer);
    }
  }
  /// Writes each tensor of the model, with noise, as a stage of the whole model does.
  void spoil_model() {
    for (const model::ModelTensor& tensor : run_.model().tensors()) {
      const at::Tensor value = run_.current().tensor(tensor);
      run_.before_change(tensor.name);
      scratch_.put(tensor.name, value + at::randn_like(value));
    }
  }
  static at::Tensor spoiled(const at::Tensor& W) { return W + at::randn_like(W); }

  using Contents = std::map<std::string, at::Tensor>;
  Contents contents() const {
    Contents contents;
    for (const std::string& name : scratch_.names()) contents[name] = scratch_.get(name);
    return contents;
  }
  void expect_contents(const Contents& expected) const {
    const Contents found = contents();
    for (const auto& [name, tensor] : found) {
      ASSERT_TRUE(expected.contains(name)) << name << " was added";
      EXPECT_TRUE(at::equal(tensor, expected.at(name))) << name;
    }
    EXPECT_EQ(found.size(), expected.size());
  }

  TinyModel model_;
  OpenedModel opened_{.model = model::LanguageModel::open(model_.folder()), .tokenizer = nullptr};
  CompressPlan plan_;
  sparsity::PatternMap patterns_{sparsity::Unstructured{0.5}, {}};
  model::TensorFile scratch_{model_.folder() / "weights.scratch"};
  RunReport report_;
  Journal journal_;
  Warnings warnings_;
  RunContext run_{.plan = plan_,
                  .opened = opened_,
                  .teacher = *opened_.model,
                  .patterns = patterns_,
                  .compute = {},
                  .windows = {},
                  .held_out = kHeldOut,
                  .scratch = scratch_,
                  .dense_scratch = scratch_,
                  .report = report_,
                  .journal = journal_,
                  .stages = {},
                  .sinks = {.log = warnings_, .progress = silent_sinks().progress},
                  .activations = {},
                  .dense_stream = std::nullopt};
};

TEST_F(GuardTest, TheDivergenceOfTheDenseWeightsIsThatOfTheirRounding) {
  const double divergence = dense_divergence(run_, run_.dense());
  EXPECT_GE(divergence, 0);
  EXPECT_LT(divergence, 1e-3);
}

TEST_F(GuardTest, TheDivergenceIsTheMeanOverThePositionsOfHeldOutWindowsThatPredictAToken) {
  prune();
  const model::Forward forward(run_.model().config(), {}, kLength);
  const at::Tensor windows = run_.windows.narrow(0, kWindows - kHeldOut, kHeldOut);
  const auto log_probabilities = [&](const model::WeightView& weights, at::ScalarType states) {
    at::Tensor x = weights.embed(windows, at::kCPU);
    for (int64_t b = 0; b < TinyModel::kBlocks; ++b)
      x = forward.forward_block(weights.block(b, at::kCPU, at::kFloat), x);
    const at::Tensor hidden = weights.final_norm(at::kCPU)(x).to(states).to(at::kFloat);
    return at::log_softmax(weights.head({}).logits(hidden.narrow(1, 0, kLength - 1)), -1).to(at::kDouble);
  };
  const at::Tensor q = log_probabilities(run_.dense(), at::kBFloat16);
  const at::Tensor p = log_probabilities(run_.current(), at::kFloat);
  const double expected = (q.exp() * (q - p)).sum(-1).mean().item<double>();
  EXPECT_GT(expected, 0.01);
  EXPECT_NEAR(dense_divergence(run_, run_.current()), expected, 1e-5 * expected);
}

TEST_F(GuardTest, TheDenseModelRunsOnce) {
  prune();
  const int64_t before = model::passes_so_far().forward;
  dense_divergence(run_, run_.current());
  EXPECT_EQ(model::passes_so_far().forward - before, kHeldOut * kLength * 2 * TinyModel::kBlocks);
}

TEST_F(GuardTest, MasksWithoutAStageRecordTheDivergenceOfThePrunedWeights) {
  prune();
  EXPECT_EQ(stage().name, "prune");
  EXPECT_EQ(stage().divergence, dense_divergence(run_, run_.current()));
  EXPECT_FALSE(stage().divergence_before);
  EXPECT_FALSE(stage().undone);
}

TEST_F(GuardTest, AStageOfRegionsThatDoesHarmLeavesEveryTensorAsItWas) {
  prune();
  const Contents before = contents();
  const double pruned = *stage().divergence;
  guarded("sublayer", [&] { change_regions(spoiled); });
  expect_contents(before);
  EXPECT_TRUE(stage().undone);
  EXPECT_EQ(stage().divergence_before, pruned);
  EXPECT_GT(*stage().divergence, pruned);
  ASSERT_EQ(warnings_.lines.size(), 1U);
  EXPECT_THAT(warnings_.lines[0], HasSubstr("sublayer: undone, since the KL divergence"));
  EXPECT_THAT(warnings_.lines[0],
              HasSubstr(fmt::format("rose from {:.4g} to {:.4g}", pruned, *stage().divergence)));
}

TEST_F(GuardTest, AStageOfTheWholeModelThatDoesHarmLeavesEveryTensorAsItWas) {
  plan_.model_stage.loss = reconstruct::TokenLoss::kCe;
  prune();
  const Contents before = contents();
  EXPECT_FALSE(before.contains("model.norm.weight"));  // not even this one stays
  guarded("model", [&] { spoil_model(); });
  expect_contents(before);
  EXPECT_TRUE(stage().undone);
}

TEST_F(GuardTest, AStageThatWritesATensorTwiceIsUndoneToo) {
  prune();
  const Contents before = contents();
  guarded("sublayer", [&] {
    change_regions(spoiled);
    change_regions(spoiled);
  });
  expect_contents(before);
}

TEST_F(GuardTest, AStageThatHelpsIsKeptAndLeavesNoFormerTensors) {
  prune();
  const double pruned = *stage().divergence;
  const size_t count = contents().size();
  guarded("sublayer", [&] {
    for (const model::ModelTensor& tensor : run_.model().tensors()) {
      run_.before_change(tensor.name);
      scratch_.put(tensor.name, run_.model().read(tensor));
    }
  });
  EXPECT_FALSE(stage().undone);
  EXPECT_EQ(stage().divergence_before, pruned);
  EXPECT_LT(*stage().divergence, 1e-3);
  EXPECT_EQ(contents().size(), count + 2);  // embedding and final norm
  EXPECT_THAT(warnings_.lines, IsEmpty());
}

TEST_F(GuardTest, AStageThatChangesNothingHasNotHelped) {
  prune();
  guarded("sublayer", [] {});
  EXPECT_TRUE(stage().undone);
  EXPECT_EQ(stage().divergence, stage().divergence_before);
  ASSERT_EQ(warnings_.lines.size(), 1U);
  EXPECT_THAT(warnings_.lines[0], HasSubstr("stayed at"));
}

TEST_F(GuardTest, AfterAnUndoneStageTheNextOneStartsFromTheBetterFigure) {
  prune();
  const double pruned = *stage().divergence;
  guarded("sublayer", [&] { change_regions(spoiled); });
  guarded("block", [&] { change_regions(spoiled); });
  EXPECT_EQ(stage().divergence_before, pruned);
}

TEST_F(GuardTest, LogitsThatAreNotFiniteAreUndoneAndAnyFiniteOnesAreBetter) {
  prune();
  const Contents before = contents();
  guarded("sublayer", [&] {
    change_regions([](const at::Tensor& W) { return W * std::numeric_limits<double>::infinity(); });
  });
  EXPECT_TRUE(stage().undone);
  expect_contents(before);
  EXPECT_THAT(warnings_.lines, ElementsAre(HasSubstr("not finite after it")));
  report_.stages.back() = {.name = "prune", .divergence = std::nan("")};
  guarded("sublayer", [&] { change_regions([](const at::Tensor& W) { return W * 0.9; }); });
  EXPECT_FALSE(stage().undone);
}

TEST_F(GuardTest, WithoutTheGuardHarmIsReportedAndKept) {
  plan_.guard = false;
  prune();
  const Contents before = contents();
  guarded("sublayer", [&] { change_regions(spoiled); });
  EXPECT_FALSE(stage().undone);
  EXPECT_GT(*stage().divergence, *stage().divergence_before);
  EXPECT_FALSE(at::equal(contents().at("model.layers.0.mlp.up_proj.weight"),
                         before.at("model.layers.0.mlp.up_proj.weight")));
  EXPECT_EQ(contents().size(), before.size());
  EXPECT_THAT(warnings_.lines, IsEmpty());
}

TEST_F(GuardTest, ASolveThatDoesHarmLeavesThePrunedWeights) {
  for (const char* criterion : {"magnitude", "sparsegpt"}) {  // the second moves the weights that it keeps
    plan_.criterion = criterion;
    report_ = {};
    guarded("solve", [&] {
      pipeline::prune(run_, /*solve=*/false);
      change_regions(spoiled);
    });
    EXPECT_TRUE(stage().undone) << criterion;
    const model::WeightView pruned(run_.model(), &scratch_, model::Overlay::kPruned);
    EXPECT_EQ(stage().divergence_before, dense_divergence(run_, pruned));
    for (const TensorRecord& tensor : report_.tensors)
      EXPECT_TRUE(at::equal(scratch_.get(tensor.name), pruned.tensor(run_.model().at(tensor.name))));
  }
}

TEST_F(GuardTest, NothingIsMeasuredWithoutHeldOutWindows) {
  run_.held_out = 0;
  prune();
  guarded("sublayer", [&] { change_regions(spoiled); });
  EXPECT_FALSE(stage().divergence);
  EXPECT_FALSE(stage().undone);
  EXPECT_FALSE(is_guarded(run_));
}

TEST_F(GuardTest, TheLossThatTheWholeModelStartsFromIsTheDivergenceAfterTheStageBefore) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    run_.compute.dtype = dtype;
    for (const std::string& name : scratch_.names()) scratch_.erase(name);
    report_ = {};
    prune();
    const double pruned = *stage().divergence;
    repair(run_, {.name = "model"});
    EXPECT_EQ(report_.regions.back().outcome.held_out_before, pruned) << dtype;
    EXPECT_EQ(stage().divergence, report_.regions.back().outcome.held_out_after);
    EXPECT_EQ(stage().undone, !report_.regions.back().outcome.improved);
  }
}

TEST_F(GuardTest, AProbeComparesTheRepairedBlocksWithThoseBeforeTheStage) {
  prune();
  run_.keeps_former = true;
  const model::Forward forward(run_.model().config(), {}, kLength);
  RegionProbe unchanged(run_, forward);
  unchanged.advance(run_.current().block(0, at::kCPU, at::kFloat));
  const RegionProbe::Reading same = unchanged.read(0);
  EXPECT_EQ(same.now, same.before);
  EXPECT_GT(same.before, 0);
  EXPECT_FALSE(same.helps());
  // the dense weights in place of the pruned ones
  for (int64_t b = 0; b < TinyModel::kBlocks; ++b) {
    const model::Block dense = run_.dense().block(b, at::kCPU, at::kFloat);
    for (const model::Sublayer sublayer : model::kSublayers) run_.save_to_scratch(b, dense, sublayer);
  }
  RegionProbe probe(run_, forward);
  probe.advance(run_.current().block(0, at::kCPU, at::kFloat));
  const RegionProbe::Reading better = probe.read(0);
  EXPECT_EQ(better.before, same.before);
  EXPECT_LT(better.now, 0.01 * better.before);
  EXPECT_TRUE(better.helps());
}

TEST_F(GuardTest, AProbeIsDueFourTimesAndNeverAfterTheLastBlock) {
  run_.keeps_former = true;
  const model::Forward forward(run_.model().config(), {}, kLength);
  const RegionProbe probe(run_, forward);
  int64_t readings = 0;
  for (int64_t b = 0; b < TinyModel::kBlocks; ++b) readings += probe.due(b, b) ? 1 : 0;
  EXPECT_EQ(readings, std::min<int64_t>(4, TinyModel::kBlocks - 1));
  EXPECT_FALSE(probe.due(0, TinyModel::kBlocks - 1));
}

TEST_F(GuardTest, OneBlockGoesBackToItsFormerTensors) {
  prune();
  const Contents before = contents();
  run_.keeps_former = true;
  change_regions(spoiled);
  for (const model::ModelTensor* tensor : run_.model().block_tensors(0)) {
    const std::string& name = tensor->name;
    const at::Tensor former = run_.before_stage(0)[*tensor->role];
    restore_former(scratch_, name);
    EXPECT_EQ(scratch_.has(name), before.contains(name)) << name;
    EXPECT_TRUE(at::equal(run_.current().tensor(*tensor), former)) << name;
  }
  restore_former(scratch_);
  expect_contents(before);
}

}  // namespace
}  // namespace freelunch::pipeline
