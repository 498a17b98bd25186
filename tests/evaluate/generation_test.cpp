#include "freelunch/evaluate/generation.h"

#include <gmock/gmock.h>

#include "evaluate/tiny_model_test.h"
#include "freelunch/base/error.h"

namespace freelunch::evaluate {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class GenerationTest : public TinyModelTest {
 protected:
  std::vector<int64_t> run(const std::vector<int64_t>& prompt, const GenerationSettings& settings) const {
    return generate(weights(), prompt, settings, {}).tokens;
  }
  std::vector<int64_t> by_hand(std::vector<int64_t> sequence, int64_t tokens) const {
    const size_t prompt = sequence.size();
    for (int64_t i = 0; i < tokens; ++i)
      sequence.push_back(plain_log_probabilities(tensors_, sequence)[-1].argmax().item<int64_t>());
    return {sequence.begin() + static_cast<std::ptrdiff_t>(prompt), sequence.end()};
  }
};

TEST_F(GenerationTest, TakesTheLikeliestTokenAgainAndAgain) {
  EXPECT_EQ(run({1, 2, 3}, {.tokens = 12, .stop = {}}), by_hand({1, 2, 3}, 12));
}

TEST_F(GenerationTest, ShowsEachTokenAsItComes) {
  std::vector<int64_t> seen;
  const auto result =
      generate(weights(), {5}, {.tokens = 4, .stop = {}}, {}, [&](int64_t t) { seen.push_back(t); }).tokens;
  EXPECT_EQ(result.size(), 4);
  EXPECT_EQ(seen, result);
}

TEST_F(GenerationTest, StopsBeforeTheStopToken) {
  // the prompt is one after which the stop token is not the first to come
  for (int64_t start = 0; start < 16; ++start) {
    const auto free = by_hand({start}, 8);
    const auto other = std::find_if(free.begin(), free.end(), [&](int64_t t) { return t != free[0]; });
    if (other == free.end()) continue;
    const std::vector<int64_t> before(free.begin(), other);
    EXPECT_EQ(run({start}, {.tokens = 8, .stop = {*other}}), before);
    EXPECT_THAT(run({start}, {.tokens = 8, .stop = {*other, free[0]}}), IsEmpty());
    return;
  }
  FAIL() << "every prompt repeats one token; choose another seed";
}

TEST_F(GenerationTest, TakesTheFirstOfEquallyLikelyTokens) {
  open_undecided();
  EXPECT_THAT(run({4}, {.tokens = 3, .stop = {}}), ElementsAre(0, 0, 0));
}

TEST_F(GenerationTest, RefusesAnEmptyPrompt) {
  try {
    run({}, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
  }
}

TEST_F(GenerationTest, SaysSoWhereTheModelOverflows) {
  Tensors tensors = tiny_tensors();
  tensors["model.norm.weight"].fill_(1e38F);
  tensors["lm_head.weight"].mul_(1e38F);
  open(tensors);
  try {
    run({1}, {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumerical);
  }
}

}  // namespace
}  // namespace freelunch::evaluate
