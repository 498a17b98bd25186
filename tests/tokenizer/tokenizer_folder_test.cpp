#include "freelunch/tokenizer/tokenizer_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "freelunch/base/error.h"
#include "test_folder.h"

namespace freelunch::tokenizer {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TokenizerFolder : public ::testing::Test {
 protected:
  TokenizerFolder() { fs::create_directories(folder_); }
  ~TokenizerFolder() override { fs::remove_all(folder_); }
  void put(const char* name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  std::string refusal() const {
    try {
      from_folder(folder_);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile) << error.what();
      return error.what();
    }
    return "accepted";
  }
  fs::path folder_ =
      fs::path(::testing::TempDir()) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(TokenizerFolder, ReadsVocabularyAndMerges) {
  put("vocab.json", R"({"<|endoftext|>":0,"a":1,"b":2,"ab":3,"Ġ":4,"<pad>":5})");
  put("merges.txt", "#version: 0.2\r\na b\r\n");
  put("added_tokens.json", R"({"<tool>":6})");
  put("special_tokens_map.json", R"({"pad_token":{"content":"<pad>"}})");
  auto t = from_folder(folder_);
  EXPECT_THAT(t->encode("ab a<|endoftext|><tool><pad>"), ElementsAre(3, 4, 1, 0, 6, 5));
  put("tokenizer_config.json", R"({"add_bos_token":true,"bos_token":"<pad>"})");
  t = from_folder(folder_);
  EXPECT_THAT(t->encode("a"), ElementsAre(5, 1));
  put("tokenizer_config.json", R"({"add_bos_token":true,"bos_token":"none"})");
  EXPECT_THAT(refusal(), HasSubstr("'none'"));
  put("tokenizer_config.json", R"({"add_bos_token":"yes"})");
  EXPECT_THAT(refusal(), HasSubstr("wrong type"));
  put("tokenizer_config.json", R"({"added_tokens_decoder":{"x":{"content":"a"}}})");
  EXPECT_THAT(refusal(), HasSubstr("'x'"));
  put("tokenizer_config.json", "[]");
  EXPECT_THAT(refusal(), HasSubstr("tokenizer_config.json"));
}

TEST_F(TokenizerFolder, PrefersTokenizerJson) {
  put("vocab.json", "nonsense");
  put("merges.txt", "");
  put("tokenizer.json", R"({"model":{"type":"BPE","vocab":{"a":7},"merges":[]}})");
  EXPECT_THAT(from_folder(folder_)->encode("a"), ElementsAre(7));
}

TEST_F(TokenizerFolder, SaysWhatIsMissing) {
  EXPECT_THAT(refusal(), HasSubstr("tokenizer.model"));
  put("vocab.json", "{}");
  EXPECT_THAT(refusal(), HasSubstr("merges.txt"));
  put("tokenizer.model", "");
  EXPECT_THAT(refusal(), HasSubstr("no pieces"));
}

}  // namespace
}  // namespace freelunch::tokenizer
