#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// Which of n weights are kept, one bit each, padded to whole chunks that threads take in turn.
class KeptBits {
 public:
  static constexpr int64_t kChunk = 2048;  ///< weights; a multiple of 64

  /// kept (n): true = kept.
  KeptBits(const bool* kept, int64_t n);
  int64_t size() const { return n_; }
  int64_t count() const { return first_.back(); }  ///< of the kept
  int64_t chunks() const { return static_cast<int64_t>(first_.size()) - 1; }
  const uint64_t* words(int64_t chunk) const { return words_.data() + chunk * (kChunk / 64); }
  /// How many are kept before a chunk.
  int64_t first(int64_t chunk) const { return first_[static_cast<size_t>(chunk)]; }

 private:
  int64_t n_;
  std::vector<uint64_t> words_;
  std::vector<int64_t> first_;
};

/// One step of AdamW without weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101).
struct AdamStep {
  float rate, beta1, beta2, epsilon;
  float correction1, correction2;  ///< 1 - beta^t
};

/// The kept weights of a matrix as they are trained: all of them in bf16 or fp32 for the matrix products, and
/// of the kept ones, in order, two moments and, for bf16, the 16 bits that bf16 leaves out of an fp32 master.
/// Removed weights are zero and stay so.
template <typename Weight>  // Bf16 or float
struct RetainedWeights {
  Weight* weights;      ///< (n)
  int16_t* remainders;  ///< (kept); not read for fp32
  float* first;         ///< (kept) moment
  float* second;        ///< (kept) moment
};

/// One pass over weights, gradient (n) and moments; the same bytes for any number of threads. False where a
/// kept weight's gradient, or its square in fp32, is not finite: all of it is then void.
bool step(const KeptBits& kept, const RetainedWeights<Bf16>& state, const Bf16* gradient,
          const AdamStep& adam);
bool step(const KeptBits& kept, const RetainedWeights<float>& state, const float* gradient,
          const AdamStep& adam);

/// fp32 masters (n) -> weights in bf16, rounded to nearest, and remainders, so that join() gives them back
/// bit by bit.
void split(const KeptBits& kept, const float* masters, Bf16* weights, int16_t* remainders);
void join(const KeptBits& kept, const Bf16* weights, const int16_t* remainders, float* masters);

}  // namespace freelunch::kernels
