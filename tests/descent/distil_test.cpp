#include "freelunch/descent/distil.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>

#include "freelunch/base/error.h"
#include "freelunch/base/sinks.h"
#include "tiny_model.h"

namespace freelunch::reconstruct {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBlocks = TinyModel::kBlocks;

/// Ends the run right after the commit of a step, like a process that dies there.
struct Place final : DistilPlace {
  int64_t leave_at = 0;  ///< 0: never
  std::optional<DistilPosition> position;

  bool due() const override { return leave_at > 0; }
  void commit(const DistilPosition& at) override {
    position = at;
    if (at.step == leave_at) throw Error(ErrorKind::kInterrupted, "left");
  }
  std::optional<DistilPosition> last() const override { return position; }
};

/// A model of random weights and random masks.
class DistilTest : public ::testing::TestWithParam<std::tuple<Trains, at::ScalarType>> {
 protected:
  DistilTest() {
    std::map<std::string, std::vector<int64_t>> matrices;
    for (const model::ModelTensor& tensor : model_->tensors())
      if (tensor.block >= 0 && tensor.shape.size() == 2) matrices[tensor.name] = tensor.shape;
    for (const auto& [name, shape] : matrices) masks_[name] = at::rand(shape).gt(0.5);
  }
  static TinyModel seeded_model() {
    at::manual_seed(0);
    return TinyModel{};
  }

  DistilOutcome run(bool keep_graph, model::TensorFile& scratch, Place place = {}) {
    return run_at(keep_graph, scratch, place);
  }
  DistilOutcome run_at(bool keep_graph, model::TensorFile& scratch, Place& place) {
    const auto [trains, dtype] = GetParam();
    at::manual_seed(1);
    // a text that can be learnt: each token depends on the one before
    const at::Tensor start = at::randint(40, {12, 1}, at::kLong);
    const at::Tensor windows = (start + at::arange(24) * 7).remainder(40);
    const model::Forward forward(model_->config(), {.dtype = dtype}, 24);
    return distil({.forward = forward,
                   .weights = model::WeightView(*model_),
                   .mask_of = [&](const std::string& name) { return masks_.at(name); },
                   .scratch = scratch},
                  {.windows = windows, .dense_hidden = {}, .held_out = 2, .order = RandomStream(0, "order")},
                  {.loss = TokenLoss::kCe,
                   .adam = {.learning_rate = rate_},
                   .epochs = 3,
                   .batch = 2,
                   .restarts = restarts_,
                   .trainable = {.trains = trains},
                   .keep_graph = keep_graph},
                  place, silent_sinks().progress);
  }

  double rate_ = 1e-2;
  int64_t restarts_ = 0;
  std::map<std::string, at::Tensor> masks_;
  TinyModel model_ = seeded_model();
  const fs::path& folder_ = model_.folder();
};

TEST_P(DistilTest, LearnsAndGivesTheSameBytesWhetherTheGraphIsKeptOrMadeAgain) {
  model::TensorFile again(folder_ / "again.scratch");
  model::TensorFile kept(folder_ / "kept.scratch");
  const DistilOutcome outcome = run(false, again);
  EXPECT_EQ(run(true, kept).after, outcome.after);
  EXPECT_LT(outcome.after, outcome.before);
  EXPECT_TRUE(outcome.improved);
  int compared = 0;
  for (const model::ModelTensor& tensor : model_->tensors()) {
    EXPECT_EQ(kept.has(tensor.name), again.has(tensor.name)) << tensor.name;
    if (!again.has(tensor.name)) continue;
    const at::Tensor value = again.get(tensor.name);
    EXPECT_TRUE(at::equal(kept.get(tensor.name), value)) << tensor.name;
    ++compared;
    if (std::get<0>(GetParam()) == Trains::kRetained && masks_.contains(tensor.name)) {
      EXPECT_TRUE(at::equal(value.ne(0), masks_.at(tensor.name))) << tensor.name;
    }
  }
  EXPECT_GE(compared, 2 * kBlocks + 1);
}

TEST_P(DistilTest, GoesOnFromAnyStepToTheSameBytes) {
  model::TensorFile whole(folder_ / "whole.scratch");
  const DistilOutcome outcome = run(true, whole);
  for (const int64_t step :
       {1, 5, 7,
        15}) {  // five steps in an epoch: inside an epoch, and at the end of the first and of the last
    model::TensorFile scratch(folder_ / "left.scratch");
    Place place;
    place.leave_at = step;
    EXPECT_THROW(run_at(true, scratch, place), Error);
    place.leave_at = 0;
    const DistilOutcome again = run_at(true, scratch, place);
    EXPECT_EQ(again.before, outcome.before);
    EXPECT_EQ(again.after, outcome.after) << step;
    EXPECT_EQ(scratch.names(), whole.names());
    for (const std::string& name : whole.names())
      EXPECT_TRUE(at::equal(scratch.get(name), whole.get(name))) << name;
  }
}

TEST_P(DistilTest, StartsOverAtHalfTheRateWhereToldTo) {
  model::TensorFile scratch(folder_ / "diverging.scratch");
  std::string problem;
  for (rate_ = 1; problem.empty(); rate_ *= 2) {  // up to the lowest power of two that overflows
    ASSERT_LT(rate_, 1e36);
    try {
      run(true, scratch);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
      problem = error.what();
    }
  }
  EXPECT_NE(problem.find("is not finite at step "), std::string::npos) << problem;
  EXPECT_NE(problem.find(" of 15"), std::string::npos) << problem;
  restarts_ = 2;  // the rate is now twice the lowest that overflows
  model::TensorFile again(folder_ / "again.scratch");
  const DistilOutcome outcome = run(true, again);
  EXPECT_EQ(outcome.restarts, 2);
  EXPECT_LE(outcome.after, outcome.before);
  rate_ *= 2;
  EXPECT_THROW(run(true, again), Error);
}

INSTANTIATE_TEST_SUITE_P(All, DistilTest,
                         ::testing::Values(std::tuple(Trains::kRetained, at::kBFloat16),
                                           std::tuple(Trains::kRetained, at::kFloat),
                                           std::tuple(Trains::kBiasNorm, at::kFloat)));

}  // namespace
}  // namespace freelunch::reconstruct
