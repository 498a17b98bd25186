#include "freelunch/model_io/inspection.h"

#include <gtest/gtest.h>

#include "test_folder.h"
#include "tiny_model_folder.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

constexpr const char* kUp = "model.layers.0.mlp.up_proj.weight";

class InspectionTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(test_folder()); }
  json inspected(const Tensors& tensors) {
    write_model(test_folder(), tensors);
    return inspect(test_folder(), silent_sinks());
  }
  static const json& entry(const json& about, const std::string& name) {
    for (const json& tensor : about["tensors"]) {
      if (tensor["name"] == name) return tensor;
    }
    throw std::runtime_error(name);
  }
};

TEST_F(InspectionTest, FindsZerosAndTheirPatternInATensor) {
  Tensors tensors = tiny_tensors();
  tensors[kUp].view({-1, 4}).narrow(1, 0, 2).zero_();  // the first two of every four
  const json about = inspected(tensors);
  const json& up = entry(about, kUp);
  EXPECT_EQ(up["shape"], (json{24, 16}));
  EXPECT_EQ(up["dtype"], "F32");
  EXPECT_EQ(up["zeros"], 192);
  EXPECT_EQ(up["sparsity"], 0.5);
  EXPECT_EQ(up["pattern"], "2:4");
  EXPECT_EQ(up["bytes"], 24 * 16 * 4);
  // 192 values, 2 bytes of mask a row, an offset of 8 bytes a row, two dimensions of 8 bytes
  EXPECT_EQ(up["archive_bytes"], 192 * 4 + 24 * 2 + 24 * 8 + 16);
  const json& down = entry(about, "model.layers.0.mlp.down_proj.weight");
  EXPECT_EQ(down["zeros"], 0);
  EXPECT_TRUE(down["pattern"].is_null());
  EXPECT_EQ(down["archive_bytes"], down["bytes"]);  // packed it would be larger
}

TEST_F(InspectionTest, AddsUpTheWholeModel) {
  Tensors tensors = tiny_tensors();
  tensors[kUp].zero_();
  tensors["lm_head.weight"].zero_();  // counts for the model, not for the matrices of the blocks
  const json about = inspected(tensors);
  int64_t parameters = 0;
  for (const auto& [name, tensor] : tensors) parameters += tensor.numel();
  EXPECT_EQ(about["parameters"], parameters);
  EXPECT_EQ(about["bytes"], 4 * parameters);
  EXPECT_EQ(about["architecture"], "llama");
  EXPECT_EQ(about["format"], "hugging-face");
  const double matrices = 2 * (16 * 16 * 2 + 8 * 16 * 2 + 24 * 16 * 3);
  EXPECT_DOUBLE_EQ(about["sparsity"]["matrices"], 24 * 16 / matrices);
  EXPECT_DOUBLE_EQ(about["sparsity"]["whole_model"],
                   static_cast<double>(24 * 16 + 16 * 16) / static_cast<double>(parameters));
  EXPECT_TRUE(about["sparsity"]["pattern"].is_null());  // the other matrices have none
}

TEST_F(InspectionTest, ANegativeZeroIsAZeroThatAnArchiveStores) {
  Tensors tensors = tiny_tensors();
  tensors[kUp].zero_();
  const json plain = inspected(tensors);
  tensors[kUp][0].fill_(-0.0F);
  const json negative = inspected(tensors);
  EXPECT_EQ(entry(negative, kUp)["zeros"], entry(plain, kUp)["zeros"]);
  EXPECT_EQ(entry(negative, kUp)["archive_bytes"].get<int64_t>(),
            entry(plain, kUp)["archive_bytes"].get<int64_t>() + 16 * 4);
}

}  // namespace
}  // namespace freelunch::pipeline
