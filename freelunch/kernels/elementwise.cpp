#include "freelunch/kernels/elementwise.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace freelunch::kernels {
namespace {

constexpr int64_t kRows = 32;       // rows of one partial sum
constexpr int64_t kValues = 16384;  // values that a thread takes at a time

template <typename Out>
FREELUNCH_INLINE float norm_row(int64_t n, const float* x, const float* weight, float epsilon, Out* y) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t i = 0; i < n; ++i) squares += x[i] * x[i];
  const float inverse = 1 / std::sqrt(squares / static_cast<float>(n) + epsilon);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) store(x[i] * inverse * weight[i], y + i);
  return inverse;
}

template <typename Out>
FREELUNCH_INLINE void norm_row_backward(int64_t n, const float* x, const float* weight, float inverse,
                                        const Out* dy, float* dx, float* d_weight) {
  float dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t i = 0; i < n; ++i) dot += to_float(dy[i]) * weight[i] * x[i];
  const float along = dot * inverse * inverse / static_cast<float>(n);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) d_weight[i] += to_float(dy[i]) * x[i] * inverse;
  if (dx == nullptr) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) dx[i] = inverse * (to_float(dy[i]) * weight[i] - x[i] * along);
}

template <typename T>
FREELUNCH_INLINE void rotate_token(int64_t heads, int64_t pairs, const T* x, const float* cosines,
                                   const float* sines, float direction, T* y) {
  for (int64_t h = 0; h < heads; ++h, x += 2 * pairs, y += 2 * pairs) {
#pragma omp simd
    for (int64_t i = 0; i < pairs; ++i) {
      const float a = to_float(x[i]);
      const float b = to_float(x[i + pairs]);
      const float sine = sines[i] * direction;
      store(a * cosines[i] - b * sine, y + i);
      store(b * cosines[i] + a * sine, y + i + pairs);
    }
  }
}

template <typename T>
FREELUNCH_INLINE void silu_of(int64_t n, const T* gate, const T* up, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = to_float(gate[i]);
    store(g / (1 + exponential(-g)) * to_float(up[i]), y + i);
  }
}

template <typename T>
FREELUNCH_INLINE void silu_of_backward(int64_t n, const T* gate, const T* up, const T* dy, T* d_gate,
                                       T* d_up) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = to_float(gate[i]);
    const float d = to_float(dy[i]);
    const float sigmoid = 1 / (1 + exponential(-g));
    store(d * to_float(up[i]) * sigmoid * (1 + g * (1 - sigmoid)), d_gate + i);
    store(d * g * sigmoid, d_up + i);
  }
}

template <typename T>
FREELUNCH_INLINE void add_of(int64_t n, const float* stream, const T* branch, float* y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = stream[i] + to_float(branch[i]);
}

// target_clones does not work on templates, so each function is written out for both types.
#define FREELUNCH_BOTH(function, ...) function(Bf16, __VA_ARGS__) function(float, __VA_ARGS__)
#define FREELUNCH_DEFINE(T, unused)                                                                         \
  FREELUNCH_CLONES float norm_one(int64_t n, const float* x, const float* w, float epsilon, T* y) {         \
    return norm_row(n, x, w, epsilon, y);                                                                   \
  }                                                                                                         \
  FREELUNCH_CLONES void norm_one_backward(int64_t n, const float* x, const float* w, float inverse,         \
                                          const T* dy, float* dx, float* dw) {                              \
    norm_row_backward(n, x, w, inverse, dy, dx, dw);                                                        \
  }                                                                                                         \
  FREELUNCH_CLONES void rotate_one(int64_t heads, int64_t pairs, const T* x, const float* cosines,          \
                                   const float* sines, float direction, T* y) {                             \
    rotate_token(heads, pairs, x, cosines, sines, direction, y);                                            \
  }                                                                                                         \
  FREELUNCH_CLONES void silu_some(int64_t n, const T* gate, const T* up, T* y) { silu_of(n, gate, up, y); } \
  FREELUNCH_CLONES void silu_some_backward(int64_t n, const T* gate, const T* up, const T* dy, T* dg,       \
                                           T* du) {                                                         \
    silu_of_backward(n, gate, up, dy, dg, du);                                                              \
  }                                                                                                         \
  FREELUNCH_CLONES void add_some(int64_t n, const float* stream, const T* branch, float* y) {               \
    add_of(n, stream, branch, y);                                                                           \
  }
FREELUNCH_BOTH(FREELUNCH_DEFINE, )
#undef FREELUNCH_DEFINE

}  // namespace

FREELUNCH_CLONES void add_to(int64_t n, const float* part, float* sum) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] += part[i];
}

template <typename Out>
void rms_norm(int64_t rows, int64_t width, const float* x, const float* weight, float epsilon, Out* y,
              float* inverse) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r)
    inverse[r] = norm_one(width, x + r * width, weight, epsilon, y + r * width);
}

template <typename Out>
void rms_norm_backward(int64_t rows, int64_t width, const float* x, const float* weight, const float* inverse,
                       const Out* dy, float* dx, float* d_weight) {
  const int64_t parts = (rows + kRows - 1) / kRows;
  std::vector<float> sums(static_cast<size_t>(parts * width), 0.0F);
#pragma omp parallel for schedule(static)
  for (int64_t p = 0; p < parts; ++p) {
    for (int64_t r = p * kRows; r < std::min(rows, (p + 1) * kRows); ++r) {
      norm_one_backward(width, x + r * width, weight, inverse[r], dy + r * width,
                        dx == nullptr ? nullptr : dx + r * width, sums.data() + p * width);
    }
  }
  if (d_weight == nullptr) return;
  std::fill_n(d_weight, width, 0.0F);
  for (int64_t p = 0; p < parts; ++p) add_to(width, sums.data() + p * width, d_weight);
}

template <typename T>
void rotate(const Rotation& rotation, int64_t tokens, const T* x, T* y) {
  const int64_t pairs = rotation.pairs;
  const int64_t width = rotation.heads * pairs * 2;
  const float direction = rotation.inverse ? -1.0F : 1.0F;
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t at = t % rotation.length * pairs;
    rotate_one(rotation.heads, pairs, x + t * width, rotation.cosines + at, rotation.sines + at, direction,
               y + t * width);
  }
}

template <typename T>
void silu_product(int64_t n, const T* gate, const T* up, T* y) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i += kValues) silu_some(std::min(kValues, n - i), gate + i, up + i, y + i);
}

template <typename T>
void silu_product_backward(int64_t n, const T* gate, const T* up, const T* dy, T* d_gate, T* d_up) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i += kValues)
    silu_some_backward(std::min(kValues, n - i), gate + i, up + i, dy + i, d_gate + i, d_up + i);
}

template <typename T>
void add_branch(int64_t n, const float* stream, const T* branch, float* y) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i += kValues) add_some(std::min(kValues, n - i), stream + i, branch + i, y + i);
}

#define FREELUNCH_INSTANTIATE(T, unused)                                                                \
  template void rms_norm(int64_t, int64_t, const float*, const float*, float, T*, float*);              \
  template void rms_norm_backward(int64_t, int64_t, const float*, const float*, const float*, const T*, \
                                  float*, float*);                                                      \
  template void rotate(const Rotation&, int64_t, const T*, T*);                                         \
  template void silu_product(int64_t, const T*, const T*, T*);                                          \
  template void silu_product_backward(int64_t, const T*, const T*, const T*, T*, T*);                   \
  template void add_branch(int64_t, const float*, const T*, float*);
FREELUNCH_BOTH(FREELUNCH_INSTANTIATE, )
#undef FREELUNCH_INSTANTIATE

}  // namespace freelunch::kernels
