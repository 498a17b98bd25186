#include <gtest/gtest.h>

#include "freelunch/base/error.h"
#include "freelunch/base/json_nesting.h"
#include "freelunch/base/utf8.h"

namespace freelunch {
namespace {

const std::string kReplacement = "\xEF\xBF\xBD";  // U+FFFD

TEST(Utf8, TakesTheFirstAndLastCodePointOfEachLength) {
  for (const char32_t c :
       {0x0U, 0x7FU, 0x80U, 0x7FFU, 0x800U, 0xD7FFU, 0xE000U, 0xFFFFU, 0x10000U, 0x10FFFFU}) {
    std::string text;
    append_utf8(text, c);
    EXPECT_TRUE(is_valid_utf8(text)) << std::hex << static_cast<uint32_t>(c);
    EXPECT_EQ(code_point_at(text, 0).value, c);
    EXPECT_EQ(code_point_at(text, 0).length, text.size());
    EXPECT_EQ(last_code_point("a" + text, 1 + text.size()), 1U);
  }
}

TEST(Utf8, RefusesOverlongFormsSurrogatesAndWhatIsTooLarge) {
  for (const char* text : {"\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF0\x80\x80\x80", "\xF4\x90\x80\x80",
                           "\xF5", "\x80", "\xE2\x82"})
    EXPECT_FALSE(is_valid_utf8(text)) << text;
}

// Tables 3-8 to 3-11 of the Unicode Standard, version 15, section 3.9.
TEST(Utf8, ReplacesEachMaximalSubpartOnce) {
  const auto replaced = [](size_t n, const std::string& rest) {
    std::string text;
    for (size_t i = 0; i < n; ++i) text += kReplacement;
    return text + rest;
  };
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), replaced(8, "A"));
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), replaced(8, "A"));
  EXPECT_EQ(replace_invalid_utf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            replaced(5, "A") + kReplacement + kReplacement + "B");
  EXPECT_EQ(replace_invalid_utf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), replaced(4, "A"));
}

std::string nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') + std::string(static_cast<size_t>(depth), ']');
}

TEST(JsonNesting, Allows200Levels) {
  EXPECT_NO_THROW(refuse_deep_nesting(nested(200), "f"));
  EXPECT_THROW(refuse_deep_nesting(nested(201), "f"), Error);
  EXPECT_NO_THROW(refuse_deep_nesting(nested(150) + nested(150), "f"));  // one after the other
}

TEST(JsonNesting, DoesNotCountBracketsInStrings) {
  const std::string many(500, '[');
  EXPECT_NO_THROW(refuse_deep_nesting("\"" + many + "\"", "f"));
  EXPECT_NO_THROW(refuse_deep_nesting(R"("\")" + many + "\"", "f"));  // an escaped quote ends no string
  EXPECT_THROW(refuse_deep_nesting(R"("\\")" + many, "f"), Error);    // after an escaped backslash it does
}

}  // namespace
}  // namespace freelunch
