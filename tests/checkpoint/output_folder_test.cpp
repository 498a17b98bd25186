#include "freelunch/checkpoint/files/output_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>

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

  fs::path folder_ = test_folder();
};

TEST_F(OutputFolderTest, AppearsWholeOrNotAtAll) {
  const fs::path out = folder_ / "deep" / "out";
  {
    OutputFolder abandoned(out, false);
    write_file_atomically(abandoned.path() / "x", "1");
  }
  EXPECT_FALSE(fs::exists(out));
  EXPECT_TRUE(fs::is_empty(folder_ / "deep"));
  {
    OutputFolder folder(out, false);
    write_file_atomically(folder.path() / "x", "1");
    EXPECT_FALSE(fs::exists(out));
    folder.commit();
  }
  EXPECT_TRUE(fs::exists(out / "x"));
  EXPECT_THROW(OutputFolder(out, false), Error);
  {
    OutputFolder abandoned(out, true);
    write_file_atomically(abandoned.path() / "y", "2");
  }
  EXPECT_TRUE(fs::exists(out / "x"));  // the former output is untouched
  {
    OutputFolder folder(out, true);
    write_file_atomically(folder.path() / "y", "2");
    folder.commit();
  }
  EXPECT_TRUE(fs::exists(out / "y"));
  EXPECT_FALSE(fs::exists(out / "x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_ / "deep"), {}), 1);
  write_file_atomically(folder_ / "file", "");
  EXPECT_THROW(OutputFolder(folder_ / "file", true), Error);
}

TEST_F(OutputFolderTest, ALastingStagingFolderIsFoundAgainByOneProcessAtATime) {
  const fs::path out = folder_ / "out";
  const fs::path work = folder_ / "out.partial";
  {
    const OutputFolder refused(out, false, Staging::kLasting);
    write_file_atomically(refused.work() / "journal", "1");
  }
  EXPECT_FALSE(fs::exists(work));  // it was not kept, so it is removed
  {
    OutputFolder stopped(out, false, Staging::kLasting);
    EXPECT_EQ(stopped.work(), work);
    write_file_atomically(stopped.work() / "journal", "2");
    write_file_atomically(stopped.path() / "half-written", "x");
    stopped.keep_partial();
    EXPECT_THROW(OutputFolder(out, false, Staging::kLasting), Error);
  }
  EXPECT_FALSE(fs::exists(out));
  fs::create_directories(out);
  write_file_atomically(out / "former", "");
  {
    OutputFolder again(out, true, Staging::kLasting);
    EXPECT_TRUE(fs::exists(again.work() / "journal"));
    again.clear();
    write_file_atomically(again.path() / "x", "3");
    EXPECT_TRUE(fs::exists(out / "former"));
    again.commit();
  }
  EXPECT_TRUE(fs::exists(out / "x"));
  EXPECT_EQ(std::distance(fs::directory_iterator(out), {}), 1);
  EXPECT_FALSE(fs::exists(work));
}

}  // namespace
}  // namespace freelunch::checkpoint
