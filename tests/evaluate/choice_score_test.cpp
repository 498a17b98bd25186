#include "freelunch/evaluate/choice_score.h"

#include <gmock/gmock.h>

#include "evaluate/tiny_model_test.h"
#include "freelunch/base/error.h"

namespace freelunch::evaluate {
namespace {

using ::testing::HasSubstr;

/// One token a character: 'a' to 'o' are 1 to 15, the space is 0.
class Letters : public tokenizer::Tokenizer {
 public:
  explicit Letters(std::optional<tokenizer::TokenId> bos = {}, std::optional<tokenizer::TokenId> eos = {})
      : bos_(bos), eos_(eos) {}
  std::vector<tokenizer::TokenId> encode(std::string_view text, bool) const override {
    std::vector<tokenizer::TokenId> ids;
    for (const char c : text) ids.push_back(c == ' ' ? 0 : c - 'a' + 1);
    return ids;
  }
  std::string decode(std::span<const tokenizer::TokenId>) const override { return ""; }
  int64_t size() const override { return 16; }
  std::optional<tokenizer::TokenId> bos() const override { return bos_; }
  std::optional<tokenizer::TokenId> eos() const override { return eos_; }
  bool adds_bos() const override { return false; }
  const std::string& token_text(tokenizer::TokenId) const override { return text_; }

 private:
  std::optional<tokenizer::TokenId> bos_, eos_;
  std::string text_;
};

std::vector<int64_t> ids(const std::string& text) {
  const auto tokens = Letters().encode(text, false);
  return {tokens.begin(), tokens.end()};
}

ChoiceExample question(const std::string& context, const std::vector<std::string>& answers,
                       int64_t gold = 0) {
  ChoiceExample example{.contexts = {context}, .continuations = answers, .characters = {}, .gold = gold};
  for (const std::string& answer : answers) example.characters.push_back(static_cast<int64_t>(answer.size()));
  return example;
}

class ChoiceScoreTest : public TinyModelTest {
 protected:
  ChoiceScore score(const std::vector<ChoiceExample>& examples, const Letters& tokenizer = Letters()) const {
    return score_choices(weights(), tokenizer, examples, {}, silent_sinks().progress);
  }
  double by_hand(const std::string& context, const std::string& answer) const {
    return plain_log_likelihood(tensors_, ids(context + answer), context.size());
  }
  void expect_refusal(const ChoiceExample& example, const std::string& why) const {
    try {
      score({example});
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      EXPECT_THAT(error.what(), HasSubstr(why));
    }
  }
};

TEST_F(ChoiceScoreTest, AnswersBehindOneContextScoreAsIfEachWereRunAlone) {
  const std::vector<std::string> answers{" a", " bcd", " lon", " mmmmmmm"};
  const ChoiceScore s = score({question("abc def", answers), question("h", answers)});
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_NEAR(s.examples[0].log_likelihoods[i], by_hand("abc def", answers[i]), 1e-3) << answers[i];
    EXPECT_NEAR(s.examples[1].log_likelihoods[i], by_hand("h", answers[i]), 1e-3) << answers[i];
  }
}

TEST_F(ChoiceScoreTest, OneContinuationIsScoredBehindEachContext) {
  const ChoiceExample example{
      .contexts = {"ab", "cde"}, .continuations = {" fg"}, .characters = {2, 3}, .gold = 1};
  const ChoiceScore s = score({example});
  EXPECT_NEAR(s.examples[0].log_likelihoods[0], by_hand("ab", " fg"), 1e-3);
  EXPECT_NEAR(s.examples[0].log_likelihoods[1], by_hand("cde", " fg"), 1e-3);
}

TEST_F(ChoiceScoreTest, TrailingSpacesOfTheContextBelongToTheAnswer) {
  const ChoiceScore s = score({question("ab ", {"c", "d"})});
  EXPECT_NEAR(s.examples[0].log_likelihoods[0], by_hand("ab", " c"), 1e-3);
}

TEST_F(ChoiceScoreTest, NormedScoresDivideByCharacters) {
  const std::vector<std::string> answers{" abc", " d"};
  const auto sums = score({question("ef", answers)}).examples[0].log_likelihoods;
  const int64_t likelier = sums[0] > sums[1] ? 0 : 1;
  // so many characters for the unlikelier answer that its mean is the better one
  ChoiceExample example = question("ef", answers, likelier);
  example.characters = {1, 1};
  example.characters[static_cast<size_t>(1 - likelier)] = 1000;
  const ChoiceScore s = score({example});
  EXPECT_EQ(s.examples[0].best, likelier);
  EXPECT_EQ(s.examples[0].best_normed, 1 - likelier);
  EXPECT_EQ(s.accuracy.value, 1);
  EXPECT_EQ(s.accuracy_normed.value, 0);
}

TEST_F(ChoiceScoreTest, AnAnswerWithoutCharactersIsDividedByOne) {
  ChoiceExample example = question("ef", {" abc", " d"});
  example.characters = {0, 0};
  const ChoiceScore s = score({example});
  EXPECT_EQ(s.examples[0].best_normed, s.examples[0].best);
}

TEST_F(ChoiceScoreTest, TheFirstOfEqualAnswersIsTaken) {
  open_undecided();
  const ChoiceScore s = score({question("ab", {" c", " d"}, 0), question("ab", {" c", " d"}, 1)});
  EXPECT_EQ(s.examples[0].best, 0);
  EXPECT_EQ(s.examples[1].best, 0);
  EXPECT_EQ(s.examples[1].best_normed, 0);
}

TEST_F(ChoiceScoreTest, TheErrorOfAShareIsItsSampleDeviationOverTheRootOfTheCount) {
  open_undecided();
  // equal answers: the first is taken, so gold 0 is right and gold 1 wrong
  std::vector<ChoiceExample> examples;
  for (const int64_t gold : {0, 1, 0, 0}) examples.push_back(question("ab", {" c", " d"}, gold));
  const ChoiceScore s = score(examples);
  EXPECT_DOUBLE_EQ(s.accuracy.value, 0.75);
  EXPECT_DOUBLE_EQ(s.accuracy.error, 0.25);  // 1, 0, 1, 1: sample deviation 0.5, over 2
  EXPECT_EQ(score({question("ab", {" c", " d"})}).accuracy.error, 0);
}

TEST_F(ChoiceScoreTest, ALongContextLosesItsBeginning) {
  nlohmann::ordered_json config = tiny_config_json();
  config["max_position_embeddings"] = 8;
  open(tiny_tensors(), config);
  // the model reads 8 tokens: of " nm" the last is only predicted, so 6 of the context stay
  const ChoiceScore s = score({question("abcdefghij", {" nm", " no"})});
  EXPECT_NEAR(s.examples[0].log_likelihoods[0], by_hand("efghij", " nm"), 1e-3);
}

TEST_F(ChoiceScoreTest, AnEmptyContextIsTheTextsBeginning) {
  const ChoiceScore bos = score({question("", {"cd", "ef"})}, Letters(7));
  EXPECT_NEAR(bos.examples[0].log_likelihoods[0], by_hand("g", "cd"), 1e-3);  // 'g' is token 7
  const ChoiceScore eos = score({question("", {"cd", "ef"})}, Letters({}, 2));
  EXPECT_NEAR(eos.examples[0].log_likelihoods[0], by_hand("b", "cd"), 1e-3);
  expect_refusal(question("", {"cd", "ef"}), "BOS or EOS");
}

TEST_F(ChoiceScoreTest, RefusesAnAnswerThatIsLongerThanTheModelReads) {
  expect_refusal(question("ab", {std::string(80, 'c'), "d"}), "80 tokens");
}

TEST_F(ChoiceScoreTest, AnEmptyContextIsNotRepeatedByItsAnswer) {
  const ChoiceScore s = score({question("", {"cde"})}, Letters(3, {}));
  EXPECT_NEAR(s.examples[0].log_likelihoods[0], by_hand("c", "de"), 1e-3);
}

TEST_F(ChoiceScoreTest, AnExampleThatCannotBeScoredDoesNotEndTheOthers) {
  const ChoiceExample good = question("ab", {" c", " d"});
  const ChoiceScore alone = score({good});
  for (const ChoiceExample& odd : {question("ab", {std::string(80, 'c'), "d"}), question("ab", {"", "d"})}) {
    const ChoiceScore s = score({odd, good});
    EXPECT_EQ(s.unscored, 1);
    EXPECT_EQ(s.first_unscored.find("example 1: an answer"), 0) << s.first_unscored;
    EXPECT_TRUE(s.examples[0].log_likelihoods.empty());
    EXPECT_NEAR(s.examples[1].log_likelihoods[0], alone.examples[0].log_likelihoods[0], 1e-4);
    EXPECT_EQ(s.accuracy.value, alone.accuracy.value);
  }
}

}  // namespace
}  // namespace freelunch::evaluate
