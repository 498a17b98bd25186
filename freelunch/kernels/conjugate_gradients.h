#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// The steps of conjugate gradients between GEMMs, for one row w (n) of a weight matrix with the mask
/// `retained`: solves (H + shift I) w = b on the retained entries, preconditioned by the diagonal (Saad 2003,
/// "Iterative Methods for Sparse Linear Systems", algorithm 9.1). In all functions `image` (n) fp32 is the
/// product of a row with H alone. All arrays have n entries.
struct GradientRow {
  const bool* retained;
  const float* inverse_diagonal;  ///< 1 / diagonal of (H + shift I)
  float shift;
  float* w;
  float* residual;  ///< 0 at removed entries
  Bf16* direction;  ///< rounded to bf16, so that a bf16 GEMM with it is exact in this factor
};

/// to (n) = x (n) rounded to bf16.
void round_row(int64_t n, const float* x, Bf16* to);
/// Splits two consecutive rows of a matrix into high + low, both bf16, in VNNI layout (bf16_layout.h): `high`
/// and `low` (n) words, the even row in the low half.
void split_row_pair(int64_t n, const float* even, const float* odd, uint32_t* high, uint32_t* low);

/// Starts at w = dense (n) on the retained entries, 0 elsewhere, with direction 0.
void start_row(int64_t n, const GradientRow& row, const float* dense);
/// Writes the error dense - w as the sum of two bf16 numbers, high + low (n).
void error_row(int64_t n, const GradientRow& row, const float* dense, Bf16* high, Bf16* low);
/// Computes the residual from the error dense - w: (image + shift * error + extra) on the retained entries,
/// with image = error H. extra (n) may be null. Returns r . P r: r is the residual, P the preconditioner.
double residual_row(int64_t n, const GradientRow& row, const float* dense, const float* image,
                    const float* extra);
/// Moves w along the direction d, whose product with H is `image`, to the minimum of the quadratic. Does not
/// move if the curvature d . (H + shift I) d, as rounded, is not positive. The residual is updated with
/// `image`, so it is only as exact as `image`. Returns r . P r of the new residual.
double step_row(int64_t n, const GradientRow& row, const float* image);
/// direction = P residual + momentum * direction, rounded to bf16. Because of the rounding, directions are
/// conjugate to a relative precision of 2^-9 only.
void next_direction_row(int64_t n, const GradientRow& row, double momentum);

/// The dot product of a (n) and b (n). 1024 terms are summed in fp32, their sums in fp64.
double dot_row(int64_t n, const float* a, const float* b);
/// out (n) += (a . f) f for a (n), f (n). Sums as dot_row().
void add_projection_row(int64_t n, const Bf16* a, const float* f, float* out);

}  // namespace freelunch::kernels
