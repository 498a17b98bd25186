#include "freelunch/evaluate/perplexity.h"

#include "evaluate/tiny_model_test.h"
#include "freelunch/base/error.h"
#include "freelunch/base/random.h"

namespace freelunch::evaluate {
namespace {

class PerplexityTest : public TinyModelTest {
 protected:
  static std::vector<int64_t> text(int64_t tokens) {
    RandomStream random(0, "text");
    std::vector<int64_t> result;
    for (int64_t i = 0; i < tokens; ++i) result.push_back(static_cast<int64_t>(random.below(16)));
    return result;
  }
  Perplexity measure(const std::vector<int64_t>& tokens, const PerplexitySettings& settings) const {
    return perplexity(weights(), tokens, settings, {}, silent_sinks().progress);
  }
  ErrorKind error_of(const std::vector<int64_t>& tokens, const PerplexitySettings& settings) const {
    try {
      measure(tokens, settings);
    } catch (const Error& error) {
      return error.kind();
    }
    ADD_FAILURE() << "nothing was thrown";
    return ErrorKind::kIo;
  }
  /// exp of the mean of -log p over the tokens from `first` on of the windows that start at `starts`.
  double by_hand(const std::vector<int64_t>& tokens, const std::vector<int64_t>& starts, int64_t length,
                 int64_t first, std::optional<int64_t> bos = {}) const {
    double sum = 0;
    for (const int64_t start : starts) {
      std::vector<int64_t> window(tokens.begin() + start, tokens.begin() + start + length);
      if (bos) window[0] = *bos;
      sum -= plain_log_likelihood(tensors_, window, static_cast<size_t>(first));
    }
    return std::exp(sum / static_cast<double>(static_cast<int64_t>(starts.size()) * (length - first)));
  }
};

TEST_F(PerplexityTest, PapersScoreEveryTokenButTheFirstOfEachWindowAndDropTheTail) {
  const auto tokens = text(29);
  const Perplexity p = measure(tokens, {.length = 8});
  EXPECT_NEAR(p.perplexity, by_hand(tokens, {0, 8, 16}, 8, 1), 1e-4 * p.perplexity);
  EXPECT_EQ(p.windows, 3);
  EXPECT_EQ(p.tokens, 24);
  EXPECT_EQ(p.length, 8);
}

TEST_F(PerplexityTest, LlamaCppScoresTheSecondHalfOfEachWindowBehindBos) {
  const auto tokens = text(29);
  const Perplexity p = measure(tokens, {.protocol = Protocol::kLlamaCpp, .length = 8, .bos = 3});
  EXPECT_NEAR(p.perplexity, by_hand(tokens, {0, 8, 16}, 8, 5, 3), 1e-4 * p.perplexity);
  const Perplexity without = measure(tokens, {.protocol = Protocol::kLlamaCpp, .length = 8});
  EXPECT_NEAR(without.perplexity, by_hand(tokens, {0, 8, 16}, 8, 5), 1e-4 * without.perplexity);
  EXPECT_NE(p.perplexity, without.perplexity);
}

TEST_F(PerplexityTest, PapersLeaveTheFirstTokenAsItIs) {
  const auto tokens = text(16);
  EXPECT_EQ(measure(tokens, {.length = 8, .bos = 3}).perplexity, measure(tokens, {.length = 8}).perplexity);
}

TEST_F(PerplexityTest, TakesTheFirstOrTheLastWindows) {
  const auto tokens = text(29);
  const Perplexity first = measure(tokens, {.length = 8, .windows = 2});
  EXPECT_NEAR(first.perplexity, by_hand(tokens, {0, 8}, 8, 1), 1e-4 * first.perplexity);
  EXPECT_EQ(first.windows, 2);
  const Perplexity last = measure(tokens, {.length = 8, .windows = 2, .from_end = true});
  EXPECT_NEAR(last.perplexity, by_hand(tokens, {13, 21}, 8, 1), 1e-4 * last.perplexity);
  EXPECT_EQ(measure(tokens, {.length = 8, .windows = 100}).windows, 3);
}

TEST_F(PerplexityTest, IsTheVocabularyWhereEveryTokenIsEquallyLikely) {
  open_undecided();
  EXPECT_NEAR(measure(text(16), {.length = 8}).perplexity, 16.0, 1e-4);
}

TEST_F(PerplexityTest, LongWindowsAreScoredInSeveralPiecesOfLogits) {
  nlohmann::ordered_json config = tiny_config_json();
  config["max_position_embeddings"] = 700;
  open(tiny_tensors(), config);
  const auto tokens = text(600);
  const Perplexity p = measure(tokens, {.length = 600});
  EXPECT_NEAR(p.perplexity, by_hand(tokens, {0}, 600, 1), 1e-4 * p.perplexity);
}

TEST_F(PerplexityTest, RefusesWindowsThatCannotBeCut) {
  EXPECT_EQ(error_of(text(7), {.length = 8}), ErrorKind::kInvalidArgument);
  for (const int64_t length : {1, 0, -8})
    EXPECT_EQ(error_of(text(29), {.length = length}), ErrorKind::kInvalidArgument) << length;
  for (const int64_t windows : {0, -1})
    EXPECT_EQ(error_of(text(29), {.length = 8, .windows = windows}), ErrorKind::kInvalidArgument) << windows;
}

TEST_F(PerplexityTest, SaysSoWhereTheModelOverflows) {
  Tensors tensors = tiny_tensors();
  tensors["model.norm.weight"].fill_(1e38F);
  tensors["lm_head.weight"].mul_(1e38F);
  open(tensors);
  EXPECT_EQ(error_of(text(16), {.length = 8}), ErrorKind::kNumerical);
}

}  // namespace
}  // namespace freelunch::evaluate
