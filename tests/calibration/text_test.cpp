#include "freelunch/calibration/text.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "freelunch/base/error.h"
#include "freelunch/calibration/windows.h"
#include "test_folder.h"

namespace freelunch::calibration {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;

/// One token a byte.
class Bytes : public tokenizer::Tokenizer {
 public:
  std::vector<tokenizer::TokenId> encode(std::string_view text, bool) const override {
    return {text.begin(), text.end()};
  }
  std::string decode(std::span<const tokenizer::TokenId>) const override { return ""; }
  int64_t size() const override { return 256; }
  std::optional<tokenizer::TokenId> bos() const override { return std::nullopt; }
  std::optional<tokenizer::TokenId> eos() const override { return std::nullopt; }
  bool adds_bos() const override { return false; }
  const std::string& token_text(tokenizer::TokenId) const override { return text_; }

 private:
  std::string text_;
};

class TextTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = test_folder();
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  fs::path folder_;
};

TEST_F(TextTest, ReadsEveryFormat) {
  EXPECT_THAT(read_documents(write("a.txt", "one\n\ntwo\n")), ElementsAre("one\n\ntwo\n"));
  EXPECT_THAT(read_documents(folder_ / "a.txt", {.one_document_a_line = true}),
              ElementsAre("one\n", "two\n"));
  const std::string lines = "{\"text\":\"a\\nb\"}\n\n{\"text\":\"c\",\"id\":1}\n";
  EXPECT_THAT(read_documents(write("a.jsonl", lines)), ElementsAre("a\nb", "c"));
  gzFile zipped = gzopen((folder_ / "a.jsonl.gz").c_str(), "wb");
  gzwrite(zipped, lines.data(), static_cast<unsigned>(lines.size()));
  gzclose(zipped);
  EXPECT_THAT(read_documents(folder_ / "a.jsonl.gz"), ElementsAre("a\nb", "c"));
}

TEST_F(TextTest, RefusesATruncatedGzip) {
  gzFile zipped = gzopen((folder_ / "b.jsonl.gz").c_str(), "wb");
  const std::string line(100000, 'x');
  gzwrite(zipped, line.data(), static_cast<unsigned>(line.size()));
  gzclose(zipped);
  fs::resize_file(folder_ / "b.jsonl.gz", fs::file_size(folder_ / "b.jsonl.gz") - 6);
  EXPECT_THROW(read_documents(folder_ / "b.jsonl.gz"), Error);
}

TEST(JoinWikitext, FollowsTheRuleOfPublishedFigures) {
  EXPECT_EQ(join_wikitext(" \n = A = \n \n text \n"), "\n\n = A = \n\n\n\n\n text \n");
  EXPECT_EQ(join_wikitext("a\nb"), "a\n\n\nb");
}

TEST(Windows, ConsecutiveJoinsDocumentsWithoutSeparators) {
  RandomStream random(0, "w");
  const at::Tensor windows =
      token_windows({"abc", "de", "fgh"}, Bytes(), WindowRule::kConsecutive, 3, 2, random);
  EXPECT_TRUE(at::equal(windows, at::tensor({'a', 'b', 'c', 'd', 'e', 'f'}).view({3, 2}).to(at::kLong)));
  EXPECT_THROW(token_windows({"abc"}, Bytes(), WindowRule::kConsecutive, 2, 2, random), Error);
}

TEST(Windows, CropsLieInsideLongDocumentsAndRepeatWithTheSeed) {
  const std::vector<std::string> documents{"xx", "abcdefghijklmnop", "ABCDEFGHIJ"};
  const auto take = [&](uint64_t seed) {
    RandomStream random(seed, "w");
    return token_windows(documents, Bytes(), WindowRule::kCrop, 20, 4, random);
  };
  const at::Tensor windows = take(1);
  EXPECT_TRUE(at::equal(windows, take(1)));
  EXPECT_FALSE(at::equal(windows, take(2)));
  const at::Tensor steps = windows.narrow(1, 1, 3) - windows.narrow(1, 0, 3);
  EXPECT_TRUE(steps.eq(1).all().item<bool>());  // a crop never crosses documents
  EXPECT_FALSE(windows.eq('x').any().item<bool>());
  RandomStream random(0, "w");
  EXPECT_THROW(token_windows({"ab", "abcd"}, Bytes(), WindowRule::kCrop, 1, 4, random), Error);
}

}  // namespace
}  // namespace freelunch::calibration
