#include "freelunch/base/json_fields.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <vector>

namespace freelunch {
namespace {

using nlohmann::json;

struct Point {
  double x = 0, y = 0;
  bool operator==(const Point&) const = default;
};
struct Shape {
  std::string name;
  Point centre;
  Point size;
  std::vector<Point> corners;
  std::map<std::string, std::string> labels;
  std::optional<int64_t> colour;
  bool closed = true;
  bool operator==(const Shape&) const = default;
};
struct AllOptional {
  std::optional<double> a;
  std::string b;
};
struct LacksNumber {
  double a = 0, b = 0;
};
struct LacksText {
  double a = 0;
  std::string b;
};
struct LacksOptional {
  double a = 0;
  std::optional<std::string> b;
};
struct LacksStruct {
  double a = 0;
  Point b;
};
struct LacksList {
  double a = 0;
  std::vector<Point> b;
};
struct LacksMiddle {
  double a = 0;
  bool b = false;
  double c = 0;
};

}  // namespace

template <>
struct JsonFields<Point> {
  static constexpr auto list = std::tuple{json_field("x", &Point::x), json_field("y", &Point::y)};
};
template <>
struct JsonFields<Shape> {
  static constexpr auto list = std::tuple{json_field("name", &Shape::name),
                                          json_inline(&Shape::centre),
                                          json_field("size", &Shape::size, JsonPresence::kUnlessDefault),
                                          json_field("corners", &Shape::corners),
                                          json_field("labels", &Shape::labels, JsonPresence::kUnlessDefault),
                                          json_field("colour", &Shape::colour),
                                          json_field("closed", &Shape::closed)};
};
template <>
struct JsonFields<AllOptional> {
  static constexpr auto list = std::tuple{json_field("a", &AllOptional::a),
                                          json_field("b", &AllOptional::b, JsonPresence::kUnlessDefault)};
};
template <>
struct JsonFields<LacksNumber> {
  static constexpr auto list = std::tuple{json_field("a", &LacksNumber::a)};
};
template <>
struct JsonFields<LacksText> {
  static constexpr auto list = std::tuple{json_field("a", &LacksText::a)};
};
template <>
struct JsonFields<LacksOptional> {
  static constexpr auto list = std::tuple{json_field("a", &LacksOptional::a)};
};
template <>
struct JsonFields<LacksStruct> {
  static constexpr auto list = std::tuple{json_field("a", &LacksStruct::a)};
};
template <>
struct JsonFields<LacksList> {
  static constexpr auto list = std::tuple{json_field("a", &LacksList::a)};
};
template <>
struct JsonFields<LacksMiddle> {
  static constexpr auto list = std::tuple{json_field("a", &LacksMiddle::a), json_field("c", &LacksMiddle::c)};
};

namespace {

TEST(JsonFields, AListThatLeavesOutAMemberIsSeenByTheCompiler) {
  static_assert(names_every_member<Point> && names_every_member<Shape>);
  static_assert(!names_every_member<LacksNumber>);
  static_assert(!names_every_member<LacksText>);
  static_assert(!names_every_member<LacksOptional>);
  static_assert(!names_every_member<LacksStruct>);
  static_assert(!names_every_member<LacksList>);
  static_assert(!names_every_member<LacksMiddle>);
}

TEST(JsonFields, WritesNestedAndInlineMembersUnderTheirKeys) {
  const Shape shape{.name = "a",
                    .centre = {.x = 1, .y = 2},
                    .size = {.x = 3, .y = 4},
                    .corners = {{.x = 5, .y = 6}, {.x = 7, .y = 8}},
                    .labels = {{"k", "v"}},
                    .colour = 9,
                    .closed = false};
  const json expected = json::parse(R"({"name": "a", "x": 1.0, "y": 2.0, "size": {"x": 3.0, "y": 4.0},
      "corners": [{"x": 5.0, "y": 6.0}, {"x": 7.0, "y": 8.0}], "labels": {"k": "v"}, "colour": 9, "closed": false})");
  EXPECT_EQ(json(shape), expected);
  EXPECT_EQ(expected.get<Shape>(), shape);
}

TEST(JsonFields, LeavesOutWhatIsAbsentOrDefaultAndReadsThatBack) {
  const json written = Shape{.name = "a"};
  EXPECT_EQ(written, json::parse(R"({"name": "a", "x": 0.0, "y": 0.0, "corners": [], "closed": true})"));
  Shape read{.size = {.x = 1, .y = 1}, .labels = {{"k", "v"}}, .colour = 9};
  written.get_to(read);
  EXPECT_EQ(read, Shape{.name = "a"});
}

TEST(JsonFields, ReadsNumbersThatJsonLacksAsNan) {
  const double infinite = std::numeric_limits<double>::infinity();
  const std::string text = json(Point{.x = std::nan(""), .y = infinite}).dump();
  EXPECT_EQ(text, R"({"x":null,"y":null})");
  const auto point = json::parse(text).get<Point>();
  EXPECT_TRUE(std::isnan(point.x) && std::isnan(point.y));
}

TEST(JsonFields, RefusesAMissingKeyAndAnotherType) {
  EXPECT_THROW(json::parse(R"({"x": 1})").get<Point>(), json::exception);
  EXPECT_THROW(json::parse(R"({"x": 1, "y": "2"})").get<Point>(), json::exception);
  EXPECT_THROW(json::parse("[1, 2]").get<Point>(), json::exception);
  EXPECT_NO_THROW(json::object().get<AllOptional>());
  for (const json& other : {json(), json::array(), json("text"), json(json::value_t::discarded)})
    EXPECT_THROW(other.get<AllOptional>(), json::exception) << other.type_name();
}

}  // namespace
}  // namespace freelunch
