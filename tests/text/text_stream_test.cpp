#include "freelunch/text/text_stream.h"

#include <gmock/gmock.h>

#include <fstream>

#include "freelunch/base/error.h"
#include "test_folder.h"

namespace freelunch::text {
namespace {

using namespace std::string_literals;
using ::testing::HasSubstr;

class TextStreamTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(test_folder()); }
  TextStream open(const std::string& bytes) {
    std::ofstream(test_folder(), std::ios::binary) << bytes;
    return TextStream(test_folder());
  }
  std::string read(const std::string& bytes) { return open(bytes).rest(); }
  std::string refusal(const std::string& bytes) {
    try {
      read(bytes);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
};

TEST_F(TextStreamTest, CharactersAndLineEndsMayLieAcrossTheEndsOfParts) {
  std::string packed, expected;
  for (int i = 0; i < 40000; ++i) {
    packed += i % 3 == 0 ? "é\r\n" : i % 3 == 1 ? "日\r" : "🦊\n";
    expected += i % 3 == 0 ? "é\n" : i % 3 == 1 ? "日\n" : "🦊\n";
  }
  for (size_t shift = 0; shift < 9; ++shift) {
    const std::string before(shift, 'x');
    EXPECT_EQ(read(before + packed), before + expected) << shift;
  }
}

TEST_F(TextStreamTest, PairsOfUtf16MayLieAcrossTheEndsOfParts) {
  const std::string fox = "\x3E\xD8\x8A\xDD"s;
  for (const std::string& before : {""s, "a\0"s}) {
    std::string packed = "\xFF\xFE" + before;
    std::string expected(before.empty() ? "" : "a");
    for (int i = 0; i < 40000; ++i) packed += fox, expected += "🦊";
    EXPECT_EQ(read(packed), expected);
  }
}

TEST_F(TextStreamTest, OffsetsAreOfTheWholeFile) {
  EXPECT_THAT(refusal(std::string(200000, 'x') + "\xE9 x"), HasSubstr("offset 200000: byte 0xE9"));
  EXPECT_THAT(refusal("\xEF\xBB\xBF"s + std::string(100000, 'x') + "\0"s), HasSubstr("offset 100003: a NUL"));
  EXPECT_THAT(refusal("\xFE\xFF\0a\xDC\0"s), HasSubstr("offset 4: half of a surrogate"));
  EXPECT_THAT(refusal("\xFE\xFF\0a\xD8"s), HasSubstr("offset 4: the last character"));
}

TEST_F(TextStreamTest, WhatIsPutBackIsReadNext) {
  TextStream stream = open("ab\ncd");
  std::string line;
  ASSERT_TRUE(stream.line(line));
  EXPECT_EQ(line, "ab\n");
  stream.unread(line);
  EXPECT_EQ(stream.get(), 'a');
  EXPECT_EQ(stream.rest(), "b\ncd");
  stream.unread("x");
  EXPECT_EQ(stream.get(), 'x');
  EXPECT_EQ(stream.get(), -1);
  EXPECT_FALSE(stream.line(line));
}

TEST_F(TextStreamTest, AMarkInTheMiddleStays) { EXPECT_EQ(read("a\xEF\xBB\xBF"), "a\xEF\xBB\xBF"); }

}  // namespace
}  // namespace freelunch::text
