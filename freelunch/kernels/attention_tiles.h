#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// Key k and query q of a tile of keys against queries see each other if k <= q + offset.
struct Tile {
  int64_t keys, queries;
  int64_t offset;  ///< first query's position less first key's
  float scale;     ///< of the scores
};

/// The softmax of queries over the keys met so far (Milakov and Gimelshein 2018, arXiv 1805.02867).
struct RunningSoftmax {
  float* largest;  ///< (queries): of scale * score; -infinity before the first key
  float* sum;      ///< (queries): of e^(scale * score - largest); 0 before the first key
};

/// What attention does between its matrix products, on tiles that lie key by key: row k of a tile holds one
/// key's figures for `queries` consecutive queries. So maxima, sums and the log-sum-exp are vectors over the
/// queries, and a row pair is a pair of keys, which is how bf16 products want their right-hand side:
/// "paired", (k / 2, queries) words with the even row in the low half.
struct AttentionTiles {
  /// rows (n, width), `stride` apart -> paired along the width: to (width / 2, n).
  void (*pair_columns)(int64_t n, int64_t width, int64_t stride, const Bf16* rows, uint32_t* to);
  /// rows (n, width) -> to (width, to_stride), of which n columns are written, and a column of zeros if n is
  /// odd; to_stride is even.
  void (*transpose)(int64_t n, int64_t width, int64_t stride, const Bf16* rows, int64_t to_stride, Bf16* to);
  /// from (width, n) fp32, from_stride apart, times factor (n) -> rows (n, width) bf16, `stride` apart.
  void (*transpose_scaled)(int64_t n, int64_t width, int64_t from_stride, const float* from,
                           const float* factor, int64_t stride, Bf16* rows);
  /// scores (keys, queries), with room for an even number of keys -> weights, paired (ceil(keys / 2),
  /// queries): e^(scale * score - largest), and the running softmax with these keys. rescale (queries): what
  /// turns sums of earlier weights into sums of weights on the new scale.
  void (*softmax)(const Tile& tile, const float* scores, uint32_t* weights, const RunningSoftmax& running,
                  float* rescale);
  /// From scores and d_weights (keys, queries; the gradient by the softmax's output), log_sum (queries; log
  /// of the sum of e^(scale * score)) and delta (queries; sum over keys of weight * gradient): weights and
  /// d_scores (the gradient by scale * score), both (keys, queries) bf16, and d_scores paired. All have room
  /// for an even number of keys.
  void (*softmax_backward)(const Tile& tile, const float* scores, const float* d_weights,
                           const float* log_sum, const float* delta, Bf16* weights, Bf16* d_scores,
                           uint32_t* d_scores_paired);
  /// delta (n): the dot product of row i of a and of b, `stride` apart; width is even.
  void (*row_dots)(int64_t n, int64_t width, int64_t stride, const Bf16* a, const Bf16* b, float* delta);
};

/// The fastest that this machine runs.
const AttentionTiles& attention_tiles();
/// Plain C++.
const AttentionTiles& portable_attention_tiles();
/// By AVX-512 and its conversions to bf16, or null where the machine has none.
const AttentionTiles* avx512_attention_tiles();

/// rows (n, width) -> paired along n: to (ceil(n / 2), width); a missing last row counts as zero.
void pair_rows(int64_t n, int64_t width, int64_t stride, const Bf16* rows, uint32_t* to);

/// sum (rows, n) *= factor (n).
void scale_columns(int64_t rows, int64_t n, const float* factor, float* sum);

/// sum (n) += part (n).
void add(int64_t n, const float* part, float* sum);

/// from (n, width) fp32 times factor -> rows (n, width) bf16, `stride` apart.
void round_scaled(int64_t n, int64_t width, const float* from, float factor, int64_t stride, Bf16* rows);

}  // namespace freelunch::kernels
