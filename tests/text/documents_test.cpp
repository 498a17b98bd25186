#include "freelunch/text/documents.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include <fstream>

#include "freelunch/base/error.h"
#include "test_folder.h"

namespace freelunch::text {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

class DocumentsTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(test_folder()); }
  void TearDown() override { fs::remove_all(test_folder()); }
  std::vector<std::string> read(const std::string& name, const std::string& content,
                                const TextFormat& format = {}) {
    std::ofstream(test_folder() / name, std::ios::binary) << content;
    return read_documents(test_folder() / name, format, silent_sinks().log);
  }
};

TEST_F(DocumentsTest, ReadsEveryForm) {
  EXPECT_THAT(read("a.txt", "one\n\ntwo\n"), ElementsAre("one\n\ntwo\n"));
  EXPECT_THAT(read("a.txt", "one\n\n\xC2\xA0\ntwo\n", {.one_document_a_line = true}),
              ElementsAre("one\n", "two\n"));
  const std::string lines = "{\"text\":\"a\\nb\"}\n\n{\"text\":\"c\",\"id\":1}\n";
  for (const char* name : {"a.jsonl", "a.txt", "a"}) EXPECT_THAT(read(name, lines), ElementsAre("a\nb", "c"));
  EXPECT_THAT(read("a.json", R"([ {"text": "]\"}"} ,"b"])"), ElementsAre("]\"}", "b"));
  EXPECT_THAT(read("a", "  [1] is a list,\n{} an object"), ElementsAre("  [1] is a list,\n{} an object"));
  EXPECT_THROW(read("a.json", "  [1] is a list,\n"), Error);
  EXPECT_THROW(read("a.json", "[]"), Error);
}

TEST_F(DocumentsTest, StopsWhereNoMoreIsWanted) {
  std::ofstream(test_folder() / "a", std::ios::binary) << "{\"text\":\"a\"}\n{\"text\":\"b\"}\nbroken";
  std::vector<std::string> read;
  for_each_document(test_folder() / "a", {}, silent_sinks().log, [&](std::string&& document) {
    read.push_back(document);
    return read.size() < 2;
  });
  EXPECT_THAT(read, ElementsAre("a", "b"));
}

TEST_F(DocumentsTest, RefusesATruncatedGzip) {
  const fs::path path = test_folder() / "b.jsonl.gz";
  gzFile zipped = gzopen(path.c_str(), "wb");
  const std::string line(100000, 'x');
  gzwrite(zipped, line.data(), static_cast<unsigned>(line.size()));
  gzclose(zipped);
  fs::resize_file(path, fs::file_size(path) - 6);
  EXPECT_THROW(read_documents(path, {}, silent_sinks().log), Error);
}

TEST(JoinWikitext, FollowsTheRuleOfPublishedFigures) {
  EXPECT_EQ(join_wikitext(" \n = A = \n \n text \n"), "\n\n = A = \n\n\n\n\n text \n");
  EXPECT_EQ(join_wikitext("a\nb"), "a\n\n\nb");
  EXPECT_EQ(join_wikitext("a\n\xE3\x80\x80\nb"), "a\n\n\n\n\nb");  // Python's strip() removes U+3000
}

}  // namespace
}  // namespace freelunch::text
