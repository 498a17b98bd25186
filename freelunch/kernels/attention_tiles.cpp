#include "freelunch/kernels/attention_tiles.h"

#include <algorithm>
#include <cmath>

namespace freelunch::kernels {
namespace {

FREELUNCH_INLINE uint32_t pair(float low, float high) {
  return static_cast<uint32_t>(to_bf16(low)) | static_cast<uint32_t>(to_bf16(high)) << 16U;
}

/// The first query of a tile that sees `key`; all later ones see it too.
FREELUNCH_INLINE int64_t first_query(const Tile& tile, int64_t key) {
  return key < tile.keys ? std::clamp<int64_t>(key - tile.offset, 0, tile.queries) : tile.queries;
}

FREELUNCH_CLONES void softmax(const Tile& t, const float* scores, uint32_t* weights,
                              const RunningSoftmax& running, float* rescale) {
  const Tile tile = t;
  float* largest = running.largest;
  float* sum = running.sum;
  std::fill_n(rescale, tile.queries, -INFINITY);
  for (int64_t k = 0; k < tile.keys; ++k) {
    const float* row = scores + k * tile.queries;
#pragma omp simd
    for (int64_t q = first_query(tile, k); q < tile.queries; ++q) rescale[q] = std::max(rescale[q], row[q]);
  }
#pragma omp simd
  for (int64_t q = 0; q < tile.queries; ++q) {
    const float now = std::max(largest[q], rescale[q] * tile.scale);
    rescale[q] = exponential(largest[q] - now);
    largest[q] = now;
    sum[q] *= rescale[q];
  }
  for (int64_t k = 0; k < tile.keys; k += 2, weights += tile.queries) {
    const float* even = scores + k * tile.queries;
    const float* odd = even + tile.queries;
    const int64_t first_even = first_query(tile, k);
    const int64_t first_odd = first_query(tile, k + 1);
    std::fill_n(weights, first_even, 0U);
    for (int64_t q = first_even; q < first_odd; ++q) {
      const float a = exponential(even[q] * tile.scale - largest[q]);
      sum[q] += a;
      weights[q] = pair(a, 0);
    }
#pragma omp simd
    for (int64_t q = first_odd; q < tile.queries; ++q) {
      const float a = exponential(even[q] * tile.scale - largest[q]);
      const float b = exponential(odd[q] * tile.scale - largest[q]);
      sum[q] += a + b;
      weights[q] = pair(a, b);
    }
  }
}

FREELUNCH_CLONES void softmax_backward(const Tile& t, const SoftmaxGradients& given,
                                       const ScoreGradients& out) {
  const Tile tile = t;
  const SoftmaxGradients in = given;
  Bf16* weights = out.weights;
  Bf16* d_scores = out.d_scores;
  for (int64_t k = 0; k < tile.keys; ++k) {
    const int64_t at = k * tile.queries;
    const int64_t first = first_query(tile, k);
    std::fill_n(weights + at, first, Bf16{0});
    std::fill_n(d_scores + at, first, Bf16{0});
#pragma omp simd
    for (int64_t q = first; q < tile.queries; ++q) {
      const float p = exponential(in.scores[at + q] * tile.scale - in.log_sum[q]);
      weights[at + q] = to_bf16(p);
      d_scores[at + q] = to_bf16(p * (in.d_weights[at + q] - in.delta[q]));
    }
  }
  to_vnni(tile.keys, tile.queries, {.data = d_scores, .stride = tile.queries}, out.d_scores_vnni);
}

FREELUNCH_CLONES void row_dots(int64_t n, int64_t width, int64_t stride, const Bf16* a, const Bf16* b,
                               float* delta) {
  for (int64_t r = 0; r < n; ++r) {
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t c = 0; c < width; ++c) dot += to_float(a[r * stride + c]) * to_float(b[r * stride + c]);
    delta[r] = dot;
  }
}

}  // namespace

const AttentionTiles& portable_attention_tiles() {
  static constexpr AttentionTiles kPortable{
      .softmax = &softmax, .softmax_backward = &softmax_backward, .row_dots = &row_dots};
  return kPortable;
}

const AttentionTiles& attention_tiles() {
  static const AttentionTiles& chosen =
      avx512_attention_tiles() != nullptr ? *avx512_attention_tiles() : portable_attention_tiles();
  return chosen;
}

FREELUNCH_CLONES void scale_columns(int64_t rows, int64_t n, const float* factor, float* sum) {
  for (int64_t r = 0; r < rows; ++r, sum += n) {
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) sum[c] *= factor[c];
  }
}

FREELUNCH_CLONES void round_scaled(int64_t n, int64_t width, const float* from, float factor,
                                   Strided<Bf16> rows) {
  for (int64_t r = 0; r < n; ++r) {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c)
      rows.data[r * rows.stride + c] = to_bf16(from[r * width + c] * factor);
  }
}

}  // namespace freelunch::kernels
