#include "freelunch/storage/tensor_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "freelunch/base/error.h"

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
  file.put("sublayer", W.to(at::kBFloat16));
  file.save(folder_ / "state");
  file.put("W", W * 2);  // the copy is a copy
  TensorFile other(folder_ / "other");
  other.put("stale", W);
  other.load(folder_ / "state");
  EXPECT_FALSE(other.has("stale"));
  EXPECT_TRUE(at::equal(other.get("W"), W));
  EXPECT_TRUE(at::equal(other.get("sublayer"), W.to(at::kBFloat16)));
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

TEST_F(TensorFileTest, ADiedProcessLeavesTheLastSettledState) {
  const at::Tensor W = at::randn({3, 5});
  using Lifetime = TensorFile::Lifetime;
  TensorFile::Changes first;
  {
    TensorFile file(folder_ / "scratch", Lifetime::kFolder);
    file.put("W", W);
    file.put("gone", W + 7);
    first = file.flush();
    file.settle();
    EXPECT_EQ(first.written.size(), 2U);
    EXPECT_TRUE(file.flush().written.empty());
    file.put("W", W * 2);  // not settled
    file.put("W", W * 3);
    file.put("V", W);
    file.erase("gone");
    EXPECT_TRUE(at::equal(file.get("W"), W * 3));
    EXPECT_FALSE(file.has("gone"));
  }
  TensorFile again(folder_ / "scratch", Lifetime::kFolder);
  EXPECT_FALSE(again.has("W"));
  for (const auto& [name, entry] : first.written) EXPECT_TRUE(again.intact(entry)) << name;
  again.adopt(first.written, {});
  EXPECT_TRUE(at::equal(again.get("W"), W));
  EXPECT_TRUE(at::equal(again.get("gone"), W + 7));
  EXPECT_FALSE(again.has("V"));
}

TEST_F(TensorFileTest, ALaterProcessUsesTheSpaceOfErasedTensorsAgain) {
  const at::Tensor W = at::randn({6});
  std::map<std::string, TensorFile::Entry> entries;
  {
    TensorFile file(folder_ / "scratch", TensorFile::Lifetime::kFolder);
    for (const char* name : {"a", "erased", "c"}) file.put(name, W);
    entries = file.flush().written;
    entries.erase("erased");
  }
  TensorFile again(folder_ / "scratch", TensorFile::Lifetime::kFolder);
  again.adopt(entries, {});
  again.put("d", at::ones({2}));  // a third of the space
  again.put("e", at::ones({4}));
  EXPECT_EQ(fs::file_size(folder_ / "scratch"), 3U * 6 * 4);
  for (const char* name : {"a", "c"}) EXPECT_TRUE(at::equal(again.get(name), W)) << name;
  EXPECT_TRUE(at::equal(again.get("d"), at::ones({2})));
  again.put("f", at::ones({2}));
  EXPECT_EQ(fs::file_size(folder_ / "scratch"), (3U * 6 + 2) * 4);
}

TEST_F(TensorFileTest, KeepsTheStateBeforeTheLastIntactToo) {
  const at::Tensor W = at::randn({3, 5});
  TensorFile file(folder_ / "scratch", TensorFile::Lifetime::kFolder);
  std::vector<TensorFile::Entry> versions;
  for (int i = 0; i < 6; ++i) {
    file.put("W", W + i);
    file.put("W", W - i);
    versions.push_back(file.flush().written.at("W"));
    file.settle();
    EXPECT_TRUE(file.intact(versions.back()));
    if (i > 0) {
      EXPECT_TRUE(file.intact(versions[static_cast<size_t>(i) - 1]));
    }
  }
  EXPECT_FALSE(file.intact(versions[1]));  // two places do for any number of versions
  EXPECT_EQ(fs::file_size(folder_ / "scratch"), 2U * 15 * 4);
  fs::resize_file(folder_ / "scratch", 100);
  EXPECT_FALSE(file.intact(versions[5]) && file.intact(versions[4]));
}

TEST_F(TensorFileTest, RenamesAndErasesWithoutTouchingWhatWasSettled) {
  const at::Tensor W = at::randn({3, 5});
  TensorFile file(folder_ / "scratch", TensorFile::Lifetime::kFolder);
  file.put("W", W);
  file.put("best W", W * 2);
  const auto before = file.flush().written;
  file.settle();
  file.rename("best W", "W");
  file.put("W", W * 3);  // must not land on the settled "best W"
  for (const auto& [name, entry] : before) EXPECT_TRUE(file.intact(entry)) << name;
  const TensorFile::Changes changes = file.flush();
  EXPECT_EQ(changes.erased, std::vector<std::string>{"best W"});
  file.settle();
  EXPECT_TRUE(at::equal(file.get("W"), W * 3));
  EXPECT_EQ(file.names(), std::vector<std::string>{"W"});
  file.put("X", W * 4);
  file.put("Y", W * 5);
  EXPECT_TRUE(at::equal(file.get("W"), W * 3));
  EXPECT_TRUE(at::equal(file.get("X"), W * 4));
  EXPECT_TRUE(at::equal(file.get("Y"), W * 5));
}

}  // namespace
}  // namespace freelunch::model
