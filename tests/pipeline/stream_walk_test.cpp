#include "freelunch/pipeline/stream_walk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "freelunch/pipeline/stream_pair.h"
#include "freelunch/pipeline/window_batches.h"
#include "tiny_block.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationStore;
using model::Block;
using model::Sublayer;
using ::testing::ElementsAre;

constexpr int64_t kWindows = 6;
constexpr int64_t kLength = 8;

TEST(WindowBatches, NeverMixHeldOutWindowsWithOthers) {
  std::vector<std::tuple<int64_t, int64_t, bool>> seen;
  for_each_batch(
      10, 3, [&](int64_t first, int64_t count, bool held_out) { seen.emplace_back(first, count, held_out); });
  EXPECT_THAT(seen, ElementsAre(std::tuple(0, 4, false), std::tuple(4, 3, false), std::tuple(7, 3, true)));
  for_each_batch(0, 0, [&](int64_t, int64_t, bool) { FAIL(); });
}

class StreamWalkTest : public ::testing::Test {
 protected:
  StreamWalkTest() {
    at::manual_seed(0);
    ours_ = random_block(config_);
    dense_ = random_block(config_);
    stream_ = at::randn({kWindows, kLength, config_.width});
  }

  StreamWalk walk() const { return {forward_, settings_, ActivationStore(stream_.clone())}; }
  static at::Tensor all(const ActivationStore& store) { return store.read(0, store.windows()); }

  model::Config config_ = tiny_config();
  model::Forward forward_{config_, {}, kLength};
  model::ActivationSettings settings_;
  Block ours_, dense_;
  at::Tensor stream_;
};

TEST_F(StreamWalkTest, GivesTheInputsOfEachGroupAndEndsWhereTheBlockDoes) {
  StreamWalk walk = this->walk();
  for (const Sublayer sublayer : model::kSublayers) {
    for (size_t group = 0; group < 2; ++group) {
      const int64_t width = ours_[model::matrix_groups(ours_, sublayer)[group].front()].size(1);
      for_each_batch(kWindows, 0, [&](int64_t i, int64_t n, bool) {
        EXPECT_THAT(walk.input(ours_, sublayer, group, i, n).sizes(), ElementsAre(n, kLength, width));
        EXPECT_FALSE(walk.tokens(ours_, sublayer, group, i, n).defined());  // no experts
      });
    }
    for_each_batch(kWindows, 0, [&](int64_t i, int64_t n, bool) { walk.advance(ours_, sublayer, i, n); });
    walk.end_sublayer();
  }
  EXPECT_TRUE(at::allclose(all(walk.take_stream()), forward_.forward_block(ours_, stream_), 1e-5, 1e-6));
}

TEST_F(StreamWalkTest, InputsAreTheNormedStreamAndWhatTheFirstGroupMakesOfIt) {
  using model::WeightRole;
  StreamWalk walk = this->walk();
  const at::Tensor x = stream_.narrow(0, 1, 2);
  const at::Tensor normed = x / x.square().mean(-1, /*keepdim=*/true).sqrt();  // its weights are ones
  const at::Tensor inner =
      at::silu(at::linear(normed, ours_[WeightRole::kGate])) * at::linear(normed, ours_[WeightRole::kUp]);
  EXPECT_TRUE(at::allclose(walk.input(ours_, Sublayer::kMlp, 0, 1, 2), normed, 1e-3, 1e-4));
  EXPECT_TRUE(at::allclose(walk.input(ours_, Sublayer::kMlp, 1, 1, 2), inner, 1e-3, 1e-4));
}

TEST_F(StreamWalkTest, PassingASublayerIsTheSameAsAskingForItsInputs) {
  StreamWalk asked = walk();
  StreamWalk passed = walk();
  for_each_batch(kWindows, 0, [&](int64_t i, int64_t n, bool) {
    asked.input(ours_, Sublayer::kAttention, 1, i, n);
    asked.advance(ours_, Sublayer::kAttention, i, n);
    passed.pass(ours_, Sublayer::kAttention, i, n);
  });
  EXPECT_TRUE(all(asked.take_stream()).equal(all(passed.take_stream())));
}

TEST_F(StreamWalkTest, APairWalksEachStreamThroughItsOwnWeights) {
  StreamPair pair(walk(), walk(), 1);
  ASSERT_TRUE(pair.has_dense());
  for (const Sublayer sublayer : model::kSublayers) {
    pair.for_each_input(ours_, dense_, sublayer, 1,
                        [](const at::Tensor&, const at::Tensor&, int64_t, bool) {});
    pair.advance(ours_, dense_, sublayer);
  }
  EXPECT_TRUE(at::allclose(all(pair.take_ours()), forward_.forward_block(ours_, stream_), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(all(pair.take_dense()), forward_.forward_block(dense_, stream_), 1e-5, 1e-6));
}

TEST_F(StreamWalkTest, APairVisitsEachWindowOnceInBothStreams) {
  StreamPair pair(walk(), walk(), 1);
  std::vector<std::tuple<int64_t, int64_t, bool>> seen;
  pair.for_each_input(ours_, dense_, Sublayer::kMlp, 1,
                      [&](const at::Tensor& X, const at::Tensor& Y, int64_t first, bool held_out) {
                        seen.emplace_back(first, X.size(0), held_out);
                        EXPECT_EQ(X.sizes(), Y.sizes());
                        EXPECT_FALSE(X.equal(Y));
                      });
  EXPECT_THAT(seen, ElementsAre(std::tuple(0, 4, false), std::tuple(4, 1, false), std::tuple(5, 1, true)));
}

TEST_F(StreamWalkTest, APairMayHaveNoDenseStream) {
  StreamPair pair(walk(), std::nullopt, 0);
  EXPECT_FALSE(pair.has_dense());
  int64_t windows = 0;
  pair.for_each_input(ours_, {}, Sublayer::kAttention, 0,
                      [&](const at::Tensor& X, const at::Tensor& Y, int64_t, bool held_out) {
                        windows += X.size(0);
                        EXPECT_FALSE(Y.defined());
                        EXPECT_FALSE(held_out);
                      });
  EXPECT_EQ(windows, kWindows);
  pair.pass(ours_, {}, Sublayer::kAttention);
  pair.pass(ours_, {}, Sublayer::kMlp);
  EXPECT_TRUE(at::allclose(all(pair.take_ours()), forward_.forward_block(ours_, stream_), 1e-5, 1e-6));
}

}  // namespace
}  // namespace freelunch::pipeline
