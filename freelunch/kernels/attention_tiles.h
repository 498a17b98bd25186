#pragma once
#include <cstdint>

#include "kernels/vector.h"

namespace freelunch::kernels {

/// What attention does between its matrix products, on tiles that lie key by key: row k of a tile holds one
/// key's figures for `queries` consecutive queries. So maxima, sums and the log-sum-exp are vectors over the
/// queries, and a row pair is a pair of keys, which is how bf16 products want their right-hand side:
/// "paired", (k / 2, queries) words with the even row in the low half.

/// rows (n, width), `stride` apart -> paired along the width: to (width / 2, n).
void pair_columns(int64_t n, int64_t width, int64_t stride, const Bf16* rows, uint32_t* to);
/// rows (n, width) -> paired along n: to (ceil(n / 2), width); a missing last row counts as zero.
void pair_rows(int64_t n, int64_t width, int64_t stride, const Bf16* rows, uint32_t* to);
/// rows (n, width) -> to (width, to_stride), of which n columns are written.
void transpose(int64_t n, int64_t width, int64_t stride, const Bf16* rows, int64_t to_stride, Bf16* to);

/// A tile of keys against queries. Key k and query q see each other if k <= q + offset.
struct Tile {
  int64_t keys, queries;
  int64_t offset;  ///< first query's position less first key's
  float scale;     ///< of the scores
};

/// scores (keys, queries) -> weights, paired (ceil(keys / 2), queries): e^(scale * score - maximum), not
/// normalised; inverse (queries): 1 / their sum; log_sum (queries): log of the sum of e^(scale * score).
void softmax(const Tile& tile, const float* scores, uint32_t* weights, float* inverse, float* log_sum);

/// From scores and d_weights (keys, queries; the gradient by the softmax's output), log_sum and delta
/// (queries; sum over keys of weight * gradient): weights and d_scores, both (keys, queries) bf16, and
/// d_scores paired.
void softmax_backward(const Tile& tile, const float* scores, const float* d_weights, const float* log_sum,
                      const float* delta, Bf16* weights, Bf16* d_scores, uint32_t* d_scores_paired);

/// from (width, n) fp32, from_stride apart, times factor (n) or 1 -> rows (n, width) bf16, `stride` apart.
void transpose_scaled(int64_t n, int64_t width, int64_t from_stride, const float* from, const float* factor,
                      int64_t stride, Bf16* rows);

/// delta (n): the dot product of row i of a and of b, `stride` apart.
void row_dots(int64_t n, int64_t width, int64_t stride, const Bf16* a, const Bf16* b, float* delta);

}  // namespace freelunch::kernels
