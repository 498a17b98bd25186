#include "freelunch/base/enum_names.h"

#include <gtest/gtest.h>

namespace freelunch {
namespace {

enum class Colour { kRed, kGreen, kUnnamed };
constexpr EnumNames<Colour, 2> kColours{{{Colour::kRed, "red"}, {Colour::kGreen, "green"}}};

TEST(EnumNames, ReadsBackEveryName) {
  for (const auto& [value, name] : kColours) {
    EXPECT_EQ(name_in(kColours, value), name);
    EXPECT_EQ(parse_named(kColours, name, "colour"), value);
  }
}

TEST(EnumNames, ListsTheNamesWhereOneIsNotKnown) {
  for (const char* text : {"blue", "", "Red", "red "}) {
    try {
      parse_named(kColours, text, "colour");
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_EQ(error.what(), "colour '" + std::string(text) + "' is not known; expected one of red, green");
    }
  }
}

TEST(EnumNames, AValueThatTheTableLacksHasNoName) { EXPECT_EQ(name_in(kColours, Colour::kUnnamed), ""); }

}  // namespace
}  // namespace freelunch
