#pragma once
#include <cstdint>

#include "freelunch/kernels/bf16_layout.h"

namespace freelunch::kernels {

/// A tile of keys against queries. Query q sees key k if k <= q + offset.
struct Tile {
  int64_t keys, queries;
  int64_t offset;  ///< position of the first query minus position of the first key
  float scale;     ///< the factor on the scores
};

/// Softmax over the keys met so far, for each query (Milakov and Gimelshein 2018, arXiv 1805.02867).
struct RunningSoftmax {
  float* largest;  ///< (queries): maximum of scale * score; -infinity before the first key
  float* sum;      ///< (queries): sum of e^(scale * score - largest); 0 before the first key
};

/// Inputs of the softmax's backward pass.
struct SoftmaxGradients {
  const float* scores;     ///< (keys, queries)
  const float* d_weights;  ///< (keys, queries): the gradient with respect to the softmax's output
  const float* log_sum;    ///< (queries): log of the sum of e^(scale * score) over the keys
  const float* delta;      ///< (queries): sum over the keys of weight * d_weights
};

/// Outputs of the softmax's backward pass. Each has memory for an even number of keys.
struct ScoreGradients {
  Bf16* weights;            ///< (keys, queries): the softmax's output, computed again
  Bf16* d_scores;           ///< (keys, queries): the gradient with respect to scale * score
  uint32_t* d_scores_vnni;  ///< (ceil(keys / 2), queries): the VNNI layout of d_scores
};

/// The work of attention between its GEMMs. Tiles are stored key by key: row k of a tile holds one number of
/// key k for each of `queries` consecutive queries. So maxima, sums and the log-sum-exp are vectors over the
/// queries, and two consecutive rows are a pair of keys, as the VNNI layout (bf16_layout.h) needs them.
struct AttentionTiles {
  /// scores (keys, queries), with memory for an even number of keys -> the VNNI layout of the weights
  /// e^(scale * score - largest), (ceil(keys / 2), queries). Adds these keys to the running softmax. rescale
  /// (queries): the factor that brings sums of earlier weights to the new `largest`.
  void (*softmax)(const Tile& tile, const float* scores, uint32_t* weights, const RunningSoftmax& running,
                  float* rescale);
  void (*softmax_backward)(const Tile& tile, const SoftmaxGradients& given, const ScoreGradients& out);
  /// delta (n): the dot products of row i of a with row i of b, both `stride` apart; width is even.
  void (*row_dots)(int64_t n, int64_t width, int64_t stride, const Bf16* a, const Bf16* b, float* delta);
};

/// The fastest implementation that this machine runs.
const AttentionTiles& attention_tiles();
/// Plain C++.
const AttentionTiles& portable_attention_tiles();
/// With AVX-512 and its conversions to bf16; null if the machine lacks them.
const AttentionTiles* avx512_attention_tiles();

/// sum (rows, n) *= factor (n).
void scale_columns(int64_t rows, int64_t n, const float* factor, float* sum);

/// from (n, width) fp32 times factor, rounded -> rows (n, width).
void round_scaled(int64_t n, int64_t width, const float* from, float factor, Strided<Bf16> rows);

}  // namespace freelunch::kernels
