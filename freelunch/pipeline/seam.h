#pragma once
#include <array>
#include <vector>

#include "freelunch/model/forward.h"
#include "freelunch/pipeline/consumer_statistics.h"
#include "freelunch/pipeline/stream_pair.h"

namespace freelunch::pipeline {

/// Whether `down` of a block can make up for removed blocks behind it: it belongs to no mixture, and what it
/// gives is added to the stream as it is.
bool can_make_up(const model::Config& config, int64_t block);

/// What `down` of a block before removed ones reads, and what it should give so that the stream behind it is
/// the one that the removed blocks would make of ours.
struct SeamStatistics {
  ConsumerStatistics down;
  /// The sum over tokens of the square of that stream, (width), of calibration and of held-out windows.
  std::array<at::Tensor, 2> stream_squares;
};

/// Visits the input of down in the MLP at hand, which can then be visited again. W (width, in) fp32 is down;
/// `ours` and `removed` have matrices in the compute dtype.
SeamStatistics seam_statistics(StreamPair& streams, const model::Forward& forward, const at::Tensor& W,
                               const model::Block& ours, const std::vector<model::Block>& removed);

}  // namespace freelunch::pipeline
