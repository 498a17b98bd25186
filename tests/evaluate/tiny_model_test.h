#pragma once
#include <gtest/gtest.h>

#include <memory>

#include "evaluate/plain_llama.h"
#include "freelunch/model/language_model.h"
#include "freelunch/model/weight_view.h"
#include "test_folder.h"

namespace freelunch::evaluate {

/// Opens a tiny model on the disk; what plain_llama.h gives for the same tensors is what must come out.
class TinyModelTest : public ::testing::Test {
 protected:
  void SetUp() override { open(tiny_tensors()); }
  void TearDown() override { std::filesystem::remove_all(test_folder()); }

  void open(const Tensors& tensors, const nlohmann::ordered_json& config = tiny_config_json()) {
    tensors_ = tensors;
    write_model(test_folder(), tensors, config);
    model_ = model::LanguageModel::open(test_folder());
  }
  /// All logits are zero: every token is as likely as any other.
  void open_undecided() {
    Tensors tensors = tiny_tensors();
    tensors["model.norm.weight"].zero_();
    open(tensors);
  }
  model::WeightView weights() const { return model::WeightView(*model_); }

  Tensors tensors_;
  std::unique_ptr<model::LanguageModel> model_;
};

}  // namespace freelunch::evaluate
