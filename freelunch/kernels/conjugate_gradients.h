#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// What conjugate gradients do between matrix products, for one row w of a matrix: (H + shift I) w = b on the
/// support of a mask, with the diagonal as preconditioner. n numbers each; `image` is what the product with H
/// alone gave.
struct GradientRow {
  const bool* retained;
  const float* inverse_diagonal;  ///< of H + shift I
  float shift;
  float* w;
  float* residual;
  Bf16* direction;  ///< rounded, so that the product with it loses nothing
};

/// x rounded to bf16.
void round_row(int64_t n, const float* x, Bf16* to);
/// Two rows of a symmetric matrix, split, each paired as the right-hand side of a bf16 product: words with
/// the even row in the low half.
void split_row_pair(int64_t n, const float* even, const float* odd, uint32_t* high, uint32_t* low);

/// w = dense on the support, no direction yet.
void start_row(int64_t n, const GradientRow& row, const float* dense);
/// dense - w as the sum of two bf16 numbers.
void error_row(int64_t n, const GradientRow& row, const float* dense, Bf16* high, Bf16* low);
/// The residual afresh: (image + shift * error + extra) on the support, where error = dense - w and image =
/// error H; extra may be null. Returns residual . preconditioned residual.
double residual_row(int64_t n, const GradientRow& row, const float* dense, const float* image,
                    const float* extra);
/// One step along the direction, whose product with H is image, to where the row's quadratic is least on it;
/// none where the image, being rounded, says that the quadratic does not rise. The residual follows by the
/// image, so it is as exact as that. Returns residual . preconditioned residual.
double step_row(int64_t n, const GradientRow& row, const float* image);
/// The next direction: the preconditioned residual, plus `keep` times the last direction. Rounding makes
/// directions conjugate to 2^-9 only.
void turn_row(int64_t n, const GradientRow& row, double keep);

/// a . b
double dot_row(int64_t n, const float* a, const float* b);

}  // namespace freelunch::kernels
