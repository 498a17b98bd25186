#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// The mask of n weights, one bit each, padded to whole chunks. Threads share the chunks.
class RetainedBits {
 public:
  static constexpr int64_t kChunk = 2048;  ///< weights; a multiple of 64

  /// retained (n): false = removed.
  RetainedBits(const bool* retained, int64_t n);
  int64_t size() const { return n_; }
  int64_t count() const { return first_.back(); }  ///< number of retained weights
  int64_t chunks() const { return static_cast<int64_t>(first_.size()) - 1; }
  /// The bits of a chunk, the first weight in the lowest bit.
  const uint64_t* words(int64_t chunk) const { return words_.data() + chunk * (kChunk / 64); }
  /// Number of retained weights before a chunk.
  int64_t first(int64_t chunk) const { return first_[static_cast<size_t>(chunk)]; }

 private:
  int64_t n_;
  std::vector<uint64_t> words_;
  std::vector<int64_t> first_;
};

/// Settings of one AdamW step t, without weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101).
struct AdamStep {
  float rate, beta1, beta2, epsilon;
  float correction1, correction2;  ///< 1 - beta^t
};

/// The training state of a masked matrix of n weights. `weights` has all of them, in the dtype of the GEMMs;
/// removed weights are zero and stay zero. The other arrays have one entry for each retained weight, in
/// order. For bf16, a weight and its remainder together are an fp32 master weight.
template <typename Weight>  // Bf16 or float
struct RetainedWeights {
  Weight* weights;      ///< (n)
  int16_t* remainders;  ///< (retained); not used for fp32
  float* first;         ///< (retained): first moment
  float* second;        ///< (retained): second moment
};

/// The size of the update of each weight of a matrix (rows, width), in row order: weight (i, j) is trained as
/// v = w / (rows[i] columns[j]), so a step of v by `rate` is a step of w by rate rows[i] columns[j]. Null
/// pointers: all sizes are 1.
struct UpdateSizes {
  const float* rows = nullptr;
  const float* columns = nullptr;
  int64_t width = 1;
};

/// One AdamW step, in one pass over weights, gradient (n) and moments. Gives the same bytes for any number of
/// threads. Returns false if the gradient of a retained weight, or its square in fp32, is not finite; the
/// state is then unusable.
bool step(const RetainedBits& retained, const RetainedWeights<Bf16>& state, const Bf16* gradient,
          const AdamStep& adam, const UpdateSizes& sizes = {});
bool step(const RetainedBits& retained, const RetainedWeights<float>& state, const float* gradient,
          const AdamStep& adam, const UpdateSizes& sizes = {});

/// Splits fp32 masters (n) into bf16 weights (n), rounded to nearest, and remainders (retained). Removed
/// weights become zero.
void split(const RetainedBits& retained, const float* masters, Bf16* weights, int16_t* remainders);
/// The inverse of split(): restores every bit of the retained masters (n); removed ones become zero.
void join(const RetainedBits& retained, const Bf16* weights, const int16_t* remainders, float* masters);

}  // namespace freelunch::kernels
