#include "freelunch/model_io/export_live.h"

#include <gtest/gtest.h>

#include <cmath>

#include "freelunch/base/error.h"
#include "freelunch/storage/tensor_file.h"
#include "test_folder.h"
#include "tiny_model_folder.h"

namespace freelunch::pipeline {
namespace {

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";
constexpr const char* kDown = "model.layers.1.mlp.down_proj.weight";

/// A tiny model in memory, in fp16, and tensors that a run has changed.
class ExportLiveTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write_model(test_folder(), tiny_tensors());  // for its config.json
    std::vector<model::LiveTensors::Named> named;
    for (const auto& [name, tensor] : tiny_tensors()) {
      tensors_[name] = tensor.to(at::kHalf);
      named.push_back({.name = name, .tensor = tensors_[name]});
    }
    live_ = std::make_shared<model::LiveTensors>(named);
    model_ = model::LanguageModel::open(test_folder(), live_);
    changes_.emplace(test_folder() / "changes");
  }
  void TearDown() override {
    changes_.reset();
    std::filesystem::remove_all(test_folder());
  }
  void write(bool plain_zeros = false) {
    write_live(model::WeightView(*model_, &*changes_), *live_, plain_zeros, silent_sinks().progress);
  }

  Tensors tensors_;
  std::shared_ptr<model::LiveTensors> live_;
  std::unique_ptr<model::LanguageModel> model_;
  std::optional<model::TensorFile> changes_;
};

TEST_F(ExportLiveTest, ChangesTheTensorsOfTheRunAndNoOthers) {
  const at::Tensor up = at::randn({24, 16});
  const at::Tensor down = tensors_[kDown].clone();
  changes_->put(kUp, up);
  write();
  EXPECT_TRUE(at::equal(tensors_[kUp], up.to(at::kHalf)));
  EXPECT_TRUE(at::equal(tensors_[kDown], down));
}

TEST_F(ExportLiveTest, WritesNothingIfOneValueDoesNotFit) {
  const Tensors before = {{kUp, tensors_[kUp].clone()}, {kDown, tensors_[kDown].clone()}};
  changes_->put(kUp, at::zeros({24, 16}));
  changes_->put(kDown, at::full({16, 24}, 70000.0F));
  EXPECT_THROW(write(), Error);
  for (const auto& [name, tensor] : before) EXPECT_TRUE(at::equal(tensors_[name], tensor)) << name;
}

TEST_F(ExportLiveTest, WritesNoNegativeZeros) {
  changes_->put(kUp, at::full({24, 16}, -0.0F));
  tensors_[kDown].fill_(-0.0F);
  write();
  EXPECT_FALSE(std::signbit(tensors_[kUp][0][0].item<float>()));
  EXPECT_TRUE(std::signbit(tensors_[kDown][0][0].item<float>()));  // not of the run
  write(/*plain_zeros=*/true);
  EXPECT_FALSE(std::signbit(tensors_[kDown][0][0].item<float>()));
}

}  // namespace
}  // namespace freelunch::pipeline
