#include "freelunch/kernels/attention_tiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace freelunch::kernels {
namespace {

constexpr int64_t kSquare = 16;  // transposing in squares keeps both sides in the first cache

FREELUNCH_INLINE uint32_t pair(float low, float high) {
  return static_cast<uint32_t>(to_bf16(low)) | static_cast<uint32_t>(to_bf16(high)) << 16U;
}

/// Which queries of a tile see key k: from the returned one on.
FREELUNCH_INLINE int64_t first_query(const Tile& tile, int64_t key) {
  return key < tile.keys ? std::clamp<int64_t>(key - tile.offset, 0, tile.queries) : tile.queries;
}

FREELUNCH_CLONES void pair_columns(int64_t n, int64_t width, int64_t stride, const Bf16* rows, uint32_t* to) {
  for (int64_t begin = 0; begin < n; begin += kSquare) {
    const int64_t end = std::min(begin + kSquare, n);
    for (int64_t c = 0; c < width / 2; ++c) {
      for (int64_t r = begin; r < end; ++r) {
        uint32_t word;
        std::memcpy(&word, rows + r * stride + 2 * c, sizeof word);
        to[c * n + r] = word;
      }
    }
  }
}

FREELUNCH_CLONES void transpose(int64_t n, int64_t width, int64_t stride, const Bf16* rows, int64_t to_stride,
                                Bf16* to) {
  for (int64_t begin = 0; begin < n; begin += kSquare) {
    const int64_t end = std::min(begin + kSquare, n);
    for (int64_t c = 0; c < width; ++c)
      for (int64_t r = begin; r < end; ++r) to[c * to_stride + r] = rows[r * stride + c];
  }
  for (int64_t c = 0; n % 2 != 0 && c < width; ++c) to[c * to_stride + n] = 0;
}

FREELUNCH_CLONES void transpose_scaled(int64_t n, int64_t width, int64_t from_stride, const float* from,
                                       const float* factor, int64_t stride, Bf16* rows) {
  for (int64_t begin = 0; begin < n; begin += kSquare) {
    const int64_t end = std::min(begin + kSquare, n);
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < width; ++c)
        rows[r * stride + c] = to_bf16(from[c * from_stride + r] * factor[r]);
  }
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

FREELUNCH_CLONES void softmax_backward(const Tile& t, const float* scores, const float* d_weights,
                                       const float* log_sum, const float* delta, Bf16* weights,
                                       Bf16* d_scores, uint32_t* d_scores_paired) {
  const Tile tile = t;
  for (int64_t k = 0; k < tile.keys; ++k) {
    const int64_t at = k * tile.queries;
    const int64_t first = first_query(tile, k);
    std::fill_n(weights + at, first, Bf16{0});
    std::fill_n(d_scores + at, first, Bf16{0});
#pragma omp simd
    for (int64_t q = first; q < tile.queries; ++q) {
      const float p = exponential(scores[at + q] * tile.scale - log_sum[q]);
      weights[at + q] = to_bf16(p);
      d_scores[at + q] = to_bf16(p * (d_weights[at + q] - delta[q]));
    }
  }
  pair_rows(tile.keys, tile.queries, tile.queries, d_scores, d_scores_paired);
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
  static constexpr AttentionTiles kPortable{&pair_columns, &transpose,        &transpose_scaled,
                                            &softmax,      &softmax_backward, &row_dots};
  return kPortable;
}

const AttentionTiles& attention_tiles() {
  static const AttentionTiles& chosen =
      avx512_attention_tiles() != nullptr ? *avx512_attention_tiles() : portable_attention_tiles();
  return chosen;
}

FREELUNCH_CLONES void pair_rows(int64_t n, int64_t width, int64_t stride, const Bf16* rows, uint32_t* to) {
  for (int64_t r = 0; r + 1 < n; r += 2, to += width) {
    const Bf16* low = rows + r * stride;
    const Bf16* high = low + stride;
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) to[c] = low[c] | static_cast<uint32_t>(high[c]) << 16U;
  }
  if (n % 2 != 0) std::copy_n(rows + (n - 1) * stride, width, to);
}

FREELUNCH_CLONES void scale_columns(int64_t rows, int64_t n, const float* factor, float* sum) {
  for (int64_t r = 0; r < rows; ++r, sum += n) {
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) sum[c] *= factor[c];
  }
}

FREELUNCH_CLONES void add(int64_t n, const float* part, float* sum) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] += part[i];
}

FREELUNCH_CLONES void round_scaled(int64_t n, int64_t width, const float* from, float factor, int64_t stride,
                                   Bf16* rows) {
  for (int64_t r = 0; r < n; ++r) {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) rows[r * stride + c] = to_bf16(from[r * width + c] * factor);
  }
}

}  // namespace freelunch::kernels
