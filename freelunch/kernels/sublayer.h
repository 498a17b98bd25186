#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// The elementwise work of a sublayer between its matrix products, forward and backward, each one pass over
/// memory. Output types are Bf16 or float. Sums over rows are formed in the same order for any number of
/// threads.

/// RMS norm: y = x * r * weight, r = 1 / sqrt(mean x^2 + epsilon). x (rows, width); inverse (rows) keeps r.
template <typename Out>
void rms_norm(int64_t rows, int64_t width, const float* x, const float* weight, float epsilon, Out* y,
              float* inverse);
/// dx = r (dy w - x r^2 mean(dy w x)); d_weight (width) = sum over rows of dy x r. Either may be null: not
/// wanted.
template <typename Out>
void rms_norm_backward(int64_t rows, int64_t width, const float* x, const float* weight, const float* inverse,
                       const Out* dy, float* dx, float* d_weight);

/// Rotary positions: pairs (i, i + pairs) of each head turn by an angle, or back with direction -1. x, y
/// (tokens, heads, 2 pairs), one row of cosines and sines (pairs) for each of the first `length` tokens, then
/// again from the first.
template <typename T>
void rotate(int64_t tokens, int64_t heads, int64_t pairs, int64_t length, const T* x, const float* cosines,
            const float* sines, float direction, T* y);

/// y = silu(gate) * up, n values.
template <typename T>
void silu_product(int64_t n, const T* gate, const T* up, T* y);
template <typename T>
void silu_product_backward(int64_t n, const T* gate, const T* up, const T* dy, T* d_gate, T* d_up);

/// stream + branch, n values.
template <typename T>
void add_branch(int64_t n, const float* stream, const T* branch, float* y);

}  // namespace freelunch::kernels
