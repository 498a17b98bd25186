#include "freelunch/checkpoint/files/journal_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "freelunch/base/error.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class JournalFileTest : public ::testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("journal_file_test." + std::to_string(::getpid()));
  fs::path path_ = folder_ / "journal.jsonl";
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  std::string text() const {
    std::ifstream stream(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }
};

TEST_F(JournalFileTest, GivesBackWhatWasAppendedAndGoesOn) {
  {
    JournalFile file(path_);
    EXPECT_TRUE(file.records().empty());
    file.append({{"region", "a"}});
    file.append({{"region", "b\nc"}, {"loss", 0.1}});
  }
  JournalFile again(path_);
  ASSERT_EQ(again.records().size(), 2U);
  EXPECT_EQ(again.records()[1], json({{"region", "b\nc"}, {"loss", 0.1}}));
  again.append(3);
  EXPECT_EQ(JournalFile(path_).records().size(), 3U);
  // every line is valid JSON
  std::ifstream stream(path_);
  for (std::string line; std::getline(stream, line);) EXPECT_TRUE(json::parse(line).contains("record"));
}

TEST_F(JournalFileTest, DropsATornLastLineWhereverItTears) {
  {
    JournalFile file(path_);
    file.append("first");
    file.append("second");
  }
  const std::string whole = text();
  const size_t first = whole.find('\n') + 1;
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    write(whole.substr(0, bytes));
    JournalFile file(path_);
    EXPECT_EQ(file.records().size(), bytes < first ? 0U : 1U) << bytes;
    file.append("again");  // after the valid lines, not after the torn bytes
    EXPECT_EQ(JournalFile(path_).records().back(), "again") << bytes;
  }
}

TEST_F(JournalFileTest, EndsAtAChangedOrMissingLine) {
  {
    JournalFile file(path_);
    for (const char* name : {"a", "b", "c", "d"}) file.append(name);
  }
  const std::string whole = text();
  std::string changed = whole;
  changed[changed.find("\"c\"") + 1] = 'x';
  EXPECT_EQ(read_journal(changed).records.size(), 2U);
  const size_t second = whole.find('\n') + 1;
  const size_t third = whole.find('\n', second) + 1;
  EXPECT_EQ(read_journal(whole.substr(0, second) + whole.substr(third)).records.size(), 1U);
  EXPECT_TRUE(read_journal("\n\n").records.empty());
  EXPECT_TRUE(read_journal("{}\n" + whole).records.empty());
}

TEST_F(JournalFileTest, RewritesTheWholeFile) {
  JournalFile file(path_);
  for (int i = 0; i < 4; ++i) file.append(i);
  file.rewrite({0, 2});
  EXPECT_EQ(file.records(), (std::vector<json>{0, 2}));
  file.append(5);
  EXPECT_EQ(JournalFile(path_).records(), (std::vector<json>{0, 2, 5}));
}

TEST_F(JournalFileTest, NamesTheFileThatCannotBeOpened) {
  try {
    JournalFile file(folder_ / "absent" / "journal.jsonl");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kIo);
    EXPECT_NE(std::string(error.what()).find("journal.jsonl"), std::string::npos);
  }
}

}  // namespace
}  // namespace freelunch::checkpoint
