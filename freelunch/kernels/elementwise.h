#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// The elementwise work of a transformer block between its GEMMs, forward and backward. Each function passes
/// over memory once. Output types are Bf16 or float. Sums over rows are formed in the same order for any
/// number of threads.

/// RMS norm (Zhang and Sennrich 2019, arXiv 1910.07467): y = x * r * weight, r = 1 / sqrt(mean x^2 +
/// epsilon). x, y (rows, width); weight (width); inverse (rows) receives r.
template <typename Out>
void rms_norm(int64_t rows, int64_t width, const float* x, const float* weight, float epsilon, Out* y,
              float* inverse);
/// dx (rows, width) = r (dy w - x r^2 mean(dy w x)); d_weight (width) = sum over rows of dy x r. `inverse` is
/// what rms_norm() gave. dx or d_weight may be null if it is not wanted.
template <typename Out>
void rms_norm_backward(int64_t rows, int64_t width, const float* x, const float* weight, const float* inverse,
                       const Out* dy, float* dx, float* d_weight);

/// Rotary position embedding (Su et al. 2021, arXiv 2104.09864): in each head, elements i and i + pairs turn
/// by the angle of pair i and of the token's position.
struct Rotation {
  int64_t heads, pairs;  ///< a token has heads * 2 * pairs elements
  int64_t length;        ///< positions: token t has position t % length
  const float* cosines;  ///< (length, pairs)
  const float* sines;    ///< (length, pairs)
  bool inverse;          ///< turn back, which is also the gradient of turning
};
/// x, y (tokens, heads, 2 pairs).
template <typename T>
void rotate(const Rotation& rotation, int64_t tokens, const T* x, T* y);

/// y = silu(gate) * up, n values each (SwiGLU: Shazeer 2020, arXiv 2002.05202).
template <typename T>
void silu_product(int64_t n, const T* gate, const T* up, T* y);
/// d_gate and d_up (n) from dy (n).
template <typename T>
void silu_product_backward(int64_t n, const T* gate, const T* up, const T* dy, T* d_gate, T* d_up);

/// y = stream + branch, n values: a sublayer's output added to the residual stream.
template <typename T>
void add_branch(int64_t n, const float* stream, const T* branch, float* y);

/// sum (n) += part (n).
void add_to(int64_t n, const float* part, float* sum);

}  // namespace freelunch::kernels
