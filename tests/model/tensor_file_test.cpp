#include "model/tensor_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace freelunch::model {
namespace {

namespace fs = std::filesystem;

class TensorFileTest : public ::testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("tensor_file_test." + std::to_string(::getpid()));
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
};

TEST_F(TensorFileTest, GivesBackWhatWasPutAndLeavesNothingBehind) {
  const at::Tensor W = at::randn({3, 5});
  {
    TensorFile file(folder_ / "scratch");
    file.put("W", W);
    file.put("mask", W.gt(0));
    file.put("W", W * 2);  // again, in place
    EXPECT_TRUE(at::equal(file.get("W"), W * 2));
    EXPECT_TRUE(at::equal(file.get("mask"), W.gt(0)));
    EXPECT_THROW(file.put("W", at::ones({5, 3})), Error);
    EXPECT_THROW(file.get("V"), Error);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(TensorFileTest, LoadsWhatWasSavedInPlaceOfWhatItHeld) {
  const at::Tensor W = at::randn({3, 5});
  TensorFile file(folder_ / "scratch");
  file.put("W", W);
  file.put("half", W.to(at::kBFloat16));
  file.save(folder_ / "state");
  file.put("W", W * 2);  // the copy is a copy
  TensorFile other(folder_ / "other");
  other.put("stale", W);
  other.load(folder_ / "state");
  EXPECT_FALSE(other.has("stale"));
  EXPECT_TRUE(at::equal(other.get("W"), W));
  EXPECT_TRUE(at::equal(other.get("half"), W.to(at::kBFloat16)));
  other.put("new", W + 1);  // grows behind what was loaded
  EXPECT_TRUE(at::equal(other.get("W"), W));
  EXPECT_TRUE(at::equal(other.get("new"), W + 1));
}

TEST_F(TensorFileTest, RefusesATornState) {
  TensorFile file(folder_ / "scratch");
  file.put("W", at::randn({3, 5}));
  file.save(folder_ / "state");
  fs::resize_file(folder_ / "state", 7);
  TensorFile other(folder_ / "other");
  EXPECT_THROW(other.load(folder_ / "state"), Error);
  EXPECT_THROW(other.load(folder_ / "absent"), Error);
  std::ofstream(folder_ / "state.json") << "{\"bytes\": ";
  EXPECT_THROW(other.load(folder_ / "state"), Error);
}

}  // namespace
}  // namespace freelunch::model
