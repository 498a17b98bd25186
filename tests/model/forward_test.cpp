#include "freelunch/model/forward.h"

#include <gtest/gtest.h>

#include "tiny_block.h"

namespace freelunch::model {
namespace {

/// Causal attention of `n` sequences of `length` tokens.
at::Tensor causal(int64_t n, int64_t length) {
  return at::ones({length, length}, at::kBool).tril().unsqueeze(0).repeat({n, 1, 1});
}

/// A short and a long sequence, padded into one batch, come out as each does alone: frequencies that depend
/// on the length are those of the sequence and not of the batch.
void expect_lengths_of_their_own(const RopeScaling& scaling) {
  Config config = tiny_config();
  config.max_length = 4;
  config.layer_types[0].rope_scaling = scaling;
  const backend::Compute compute;
  const Block block = random_block(config);
  const int64_t lengths[] = {3, 6};
  const at::Tensor x = at::randn({2, 6, config.width});
  at::Tensor positions = at::zeros({2, 6}, at::kLong);  // padding has position 0
  for (int64_t row = 0; row < 2; ++row)
    positions[row].narrow(0, 0, lengths[row]).copy_(at::arange(lengths[row]));
  const at::Tensor together = Forward(config, compute, positions, causal(2, 6)).forward_block(block, x);
  for (int64_t row = 0; row < 2; ++row) {
    const at::Tensor alone = x.narrow(0, row, 1).narrow(1, 0, lengths[row]).contiguous();
    const at::Tensor expected = Forward(config, compute, lengths[row]).forward_block(block, alone);
    EXPECT_TRUE(at::allclose(together.narrow(0, row, 1).narrow(1, 0, lengths[row]), expected, 1e-4, 1e-5))
        << row;
  }
  Config plain = config;
  plain.layer_types[0].rope_scaling = {};
  EXPECT_FALSE(at::allclose(together[1], Forward(plain, compute, 6).forward_block(block, x)[1], 1e-3, 1e-3));
}

TEST(Forward, LongropeTakesTheLengthOfEachSequence) {
  expect_lengths_of_their_own({.kind = RopeScalingKind::kLongRope,
                               .original_length = 4,
                               .attention_factor = 1.2,
                               .short_factors = {1, 2},
                               .long_factors = {3, 5}});
}

TEST(Forward, DynamicFrequenciesTakeTheLengthOfEachSequence) {
  expect_lengths_of_their_own({.kind = RopeScalingKind::kDynamic, .factor = 8});
}

}  // namespace
}  // namespace freelunch::model
