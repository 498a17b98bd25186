#include "freelunch/evaluate/choice_task.h"

#include <gmock/gmock.h>

#include <fstream>

#include "freelunch/base/error.h"
#include "test_folder.h"

namespace freelunch::evaluate {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Lines : public LogSink {
 public:
  void log(LogLevel, std::string_view line) override { lines.emplace_back(line); }
  std::vector<std::string> lines;
};

class ChoiceTaskTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(test_folder()); }
  std::vector<ChoiceExample> read(const std::string& task, const std::string& lines,
                                  std::optional<int64_t> limit = {}) {
    std::ofstream(test_folder(), std::ios::binary) << lines;
    return read_examples({.name = task, .file = test_folder()}, limit, log_).examples;
  }
  ChoiceExample one(const std::string& task, const std::string& line) { return read(task, line).at(0); }
  std::string refusal(const std::string& task, const std::string& lines) {
    try {
      read(task, lines);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
      return error.what();
    }
    ADD_FAILURE() << "read: " << lines;
    return "";
  }
  Lines log_;
};

TEST_F(ChoiceTaskTest, BoolqAsksAboutThePassage) {
  const auto e = one("boolq", R"({"passage": "P", "question": "is it", "label": 1})");
  EXPECT_THAT(e.contexts, ElementsAre("P\nQuestion: is it?\nAnswer:"));
  EXPECT_THAT(e.continuations, ElementsAre(" no", " yes"));
  EXPECT_THAT(e.characters, ElementsAre(2, 3));
  EXPECT_EQ(e.gold, 1);
  EXPECT_EQ(one("boolq", R"({"passage": "P", "question": "q", "answer": true})").gold, 1);
}

TEST_F(ChoiceTaskTest, RteReadsBothSpellingsOfItsFields) {
  const auto e = one("rte", R"({"premise": "P.", "hypothesis": "H.", "label": 0})");
  EXPECT_THAT(e.contexts, ElementsAre("P.\nQuestion: H. True or False?\nAnswer:"));
  EXPECT_THAT(e.continuations, ElementsAre(" True", " False"));
  const auto glue = one("rte", R"({"sentence1": "P.", "sentence2": "H.", "label": 0})");
  EXPECT_EQ(glue.contexts, e.contexts);
}

TEST_F(ChoiceTaskTest, HellaswagIsCleanedOfMarks) {
  const auto e = one("hellaswag",
                     R"({"activity_label": "Baking", "ctx_a": "A [header] b.", "ctx_b": "he", "label": "1", )"
                     R"("endings": ["x [title] y", " z  z "]})");
  EXPECT_THAT(e.contexts, ElementsAre("Baking: A b. He"));
  EXPECT_THAT(e.continuations, ElementsAre(" x. y", " z z"));
  EXPECT_EQ(e.gold, 1);
}

TEST_F(ChoiceTaskTest, WinograndePutsEachOptionIntoTheBlank) {
  const auto e = one("winogrande",
                     R"({"sentence": "Al met _ there.", "option1": "Bo", "option2": "Cleo", "answer": "2"})");
  EXPECT_THAT(e.contexts, ElementsAre("Al met Bo", "Al met Cleo"));
  EXPECT_THAT(e.continuations, ElementsAre(" there."));
  EXPECT_THAT(e.characters, ElementsAre(9, 11));  // of the contexts, as the harness counts
  EXPECT_EQ(e.gold, 1);
  EXPECT_EQ(e.choices(), 2);
  EXPECT_EQ(e.continuation(1), " there.");
}

TEST_F(ChoiceTaskTest, ArcFindsTheAnswerByItsLabel) {
  const auto e = one(
      "arc_easy",
      R"({"question": "Q?", "answerKey": "C", "choices": {"text": ["a", "b", "é"], "label": ["A", "B", "C"]}})");
  EXPECT_THAT(e.contexts, ElementsAre("Question: Q?\nAnswer:"));
  EXPECT_EQ(e.gold, 2);
  EXPECT_THAT(e.characters, ElementsAre(1, 1, 1));  // characters, not bytes
}

TEST_F(ChoiceTaskTest, OpenbookqaAndPiqaReadTheirOwnFields) {
  const auto o = one("openbookqa", R"({"question_stem": "S", "choices": ["a", "b"], "gold": 1})");
  EXPECT_THAT(o.contexts, ElementsAre("S"));
  EXPECT_THAT(o.continuations, ElementsAre(" a", " b"));
  const auto p = one("piqa", R"({"goal": "G", "sol1": "one", "sol2": "two", "label": 0})");
  EXPECT_THAT(p.contexts, ElementsAre("Question: G\nAnswer:"));
  EXPECT_THAT(p.continuations, ElementsAre(" one", " two"));
}

TEST_F(ChoiceTaskTest, ChoicesBringTheirOwnContexts) {
  const auto one_context = one("choices", R"({"context": "C", "choices": ["a", "b"], "gold": 0})");
  EXPECT_THAT(one_context.contexts, ElementsAre("C"));
  const auto two = one("choices", R"({"contexts": ["ab", "c"], "continuation": "d", "gold": 1})");
  EXPECT_THAT(two.contexts, ElementsAre("ab", "c"));
  EXPECT_THAT(two.continuations, ElementsAre(" d"));
  EXPECT_THAT(two.characters, ElementsAre(2, 1));
}

TEST_F(ChoiceTaskTest, ReadsAtMostTheLimitAndSkipsEmptyLines) {
  const std::string line = R"({"context": "C", "choices": ["a", "b"], "gold": 0})";
  const std::string lines = line + "\n\n  \n" + line + "\n" + line + "\n";
  EXPECT_EQ(read("choices", lines).size(), 3);
  EXPECT_EQ(read("choices", lines, 2).size(), 2);
}

TEST_F(ChoiceTaskTest, SaysWhichLineLacksWhat) {
  EXPECT_THAT(refusal("choices",
                      "\n"
                      R"({"context": "C", "gold": 0})"),
              HasSubstr("line 2: needs a field \"choices\""));
  EXPECT_THAT(refusal("choices", R"({"context": "C", "choices": ["a", "b"]})"), HasSubstr("\"gold\""));
  EXPECT_THAT(refusal("choices", R"({"context": "C", "choices": ["a", "b"], "gold": 2})"),
              HasSubstr("none of the answers"));
  EXPECT_THAT(refusal("choices", R"({"context": "C", "choices": ["a", "b"], "gold": -1})"),
              HasSubstr("none of the answers"));
  EXPECT_THAT(refusal("choices", R"({"context": 1, "choices": ["a", "b"], "gold": 0})"),
              HasSubstr("\"context\" is not a string"));
  EXPECT_THAT(refusal("choices", R"({"context": "C", "choices": [], "gold": 0})"),
              HasSubstr("list of strings"));
  EXPECT_THAT(refusal("arc_easy",
                      R"({"question": "Q", "answerKey": "Z", "choices": {"text": ["a"], "label": ["A"]}})"),
              HasSubstr("label \"Z\""));
  EXPECT_THAT(
      refusal("winogrande", R"({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"})"),
      HasSubstr("blank"));
  EXPECT_THAT(refusal("choices", "[1, 2]"), HasSubstr("line 1: not a JSON object"));
  EXPECT_THAT(refusal("choices", "\n\n"), HasSubstr("no examples"));
}

TEST_F(ChoiceTaskTest, SkipsItemsThatAreNoExamplesAndCountsThem) {
  const std::string good = R"({"context": "C", "choices": ["a", "b"], "gold": 0})"
                           "\n";
  const auto examples = read("choices", good + "{\n" +
                                            R"({"context": null, "choices": ["a"], "gold": 0})"
                                            "\n" +
                                            good);
  EXPECT_EQ(examples.size(), 2);
  ASSERT_EQ(log_.lines.size(), 1);
  EXPECT_THAT(log_.lines[0], HasSubstr("line 2: not valid JSON"));
  EXPECT_THAT(log_.lines[0], HasSubstr("items skipped: 2, 2 are left"));
}

TEST_F(ChoiceTaskTest, ARightAnswerOutsideTheAnswersCountsAsWrong) {
  const std::string lines =
      R"([{"context": "C", "choices": ["a", "b"], "gold": 1}, {"context": "C", "choices": ["a", "b"], "gold": 2}])";
  const auto examples = read("choices", lines);
  EXPECT_EQ(examples.at(1).gold, -1);
  ASSERT_EQ(log_.lines.size(), 1);
  EXPECT_THAT(log_.lines[0], HasSubstr("element 2: the right answer is none of the answers"));
  EXPECT_THAT(log_.lines[0], HasSubstr("1 of 2"));
}

TEST(ParseTask, TakesTheTaskFromTheOptionOrTheFileName) {
  const ChoiceTask given = parse_task("rte=some/file.jsonl");
  EXPECT_EQ(given.name, "rte");
  EXPECT_EQ(given.file, "some/file.jsonl");
  EXPECT_EQ(parse_task("data/arc_challenge_400.jsonl").name, "arc_challenge");
  EXPECT_EQ(parse_task("data/mine.jsonl").name, "choices");
  try {
    parse_task("nope=file");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    EXPECT_THAT(error.what(), HasSubstr("expected one of boolq"));
  }
}

TEST(ParseTask, KnowsATaskForEachName) {
  for (const std::string& name : known_tasks()) EXPECT_EQ(parse_task(name + "=f").name, name);
}

}  // namespace
}  // namespace freelunch::evaluate
