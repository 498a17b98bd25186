#include "freelunch/checkpoint/files/output_folder.h"

#include <gtest/gtest.h>

#include <fstream>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "test_folder.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;

class OutputFolderTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  /// Number of entries of a folder.
  static auto count(const fs::path& folder) { return std::distance(fs::directory_iterator(folder), {}); }
  void commit(const std::string& file, bool overwrite) const {
    OutputFolder folder(out_, overwrite);
    write_file_atomically(folder.path() / file, "1");
    folder.commit();
  }

  const fs::path folder_ = test_folder();
  const fs::path out_ = folder_ / "deep" / "out";
  const fs::path work_ = folder_ / "deep" / "out.partial";
};

TEST_F(OutputFolderTest, AnAbandonedFolderLeavesNothing) {
  {
    OutputFolder abandoned(out_, false);
    write_file_atomically(abandoned.path() / "x", "1");
  }
  EXPECT_FALSE(fs::exists(out_));
  EXPECT_TRUE(fs::is_empty(folder_ / "deep"));
}

TEST_F(OutputFolderTest, AFolderAppearsWithAllItsFilesWhenItIsCommitted) {
  OutputFolder folder(out_, false);
  write_file_atomically(folder.path() / "x", "1");
  EXPECT_FALSE(fs::exists(out_));
  folder.commit();
  EXPECT_TRUE(fs::exists(out_ / "x"));
  EXPECT_EQ(count(folder_ / "deep"), 1);
}

TEST_F(OutputFolderTest, AFormerOutputIsRefusedWithoutOverwrite) {
  commit("x", false);
  EXPECT_THROW(OutputFolder(out_, false), Error);
  EXPECT_TRUE(fs::exists(out_ / "x"));
}

TEST_F(OutputFolderTest, AFormerOutputStaysIfItsReplacementIsAbandoned) {
  commit("x", false);
  {
    OutputFolder abandoned(out_, true);
    write_file_atomically(abandoned.path() / "y", "2");
  }
  EXPECT_TRUE(fs::exists(out_ / "x"));
  EXPECT_FALSE(fs::exists(out_ / "y"));
}

TEST_F(OutputFolderTest, AFormerOutputIsReplacedAsAWhole) {
  commit("x", false);
  commit("y", true);
  EXPECT_TRUE(fs::exists(out_ / "y"));
  EXPECT_FALSE(fs::exists(out_ / "x"));
  EXPECT_EQ(count(folder_ / "deep"), 1);
}

TEST_F(OutputFolderTest, AFileInPlaceOfTheFolderIsRefused) {
  std::ofstream(folder_ / "file") << "x";
  EXPECT_THROW(OutputFolder(folder_ / "file", true), Error);
}

TEST_F(OutputFolderTest, ALastingStagingFolderGoesWithTheObjectUnlessItIsKept) {
  {
    const OutputFolder refused(out_, false, Staging::kLasting);
    write_file_atomically(refused.work() / "journal", "1");
  }
  EXPECT_FALSE(fs::exists(work_));
  {
    OutputFolder stopped(out_, false, Staging::kLasting);
    EXPECT_EQ(stopped.work(), work_);
    write_file_atomically(stopped.work() / "journal", "2");
    stopped.keep_partial();
  }
  EXPECT_TRUE(fs::exists(work_ / "journal"));
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(OutputFolderTest, ALastingStagingFolderIsOpenToOneProcessAtATime) {
  const OutputFolder first(out_, false, Staging::kLasting);
  EXPECT_THROW(OutputFolder(out_, false, Staging::kLasting), Error);
}

TEST_F(OutputFolderTest, ALastingStagingFolderIsFoundAgainAndReplacesAFormerOutput) {
  {
    OutputFolder stopped(out_, false, Staging::kLasting);
    write_file_atomically(stopped.work() / "journal", "2");
    write_file_atomically(stopped.path() / "half-written", "x");
    stopped.keep_partial();
  }
  fs::create_directories(out_);
  std::ofstream(out_ / "former") << "x";
  {
    OutputFolder again(out_, true, Staging::kLasting);
    EXPECT_TRUE(fs::exists(again.work() / "journal"));
    again.clear();
    write_file_atomically(again.path() / "x", "3");
    EXPECT_TRUE(fs::exists(out_ / "former"));
    again.commit();
  }
  EXPECT_TRUE(fs::exists(out_ / "x"));
  EXPECT_EQ(count(out_), 1);
  EXPECT_FALSE(fs::exists(work_));
}

}  // namespace
}  // namespace freelunch::checkpoint
