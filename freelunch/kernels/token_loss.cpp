#include "freelunch/kernels/token_loss.h"

#include <algorithm>
#include <cmath>

namespace freelunch::kernels {
namespace {

constexpr int64_t kPart = 1024;  // terms summed in fp32

template <typename Logit>
FREELUNCH_INLINE float largest_of(const Logit* row, int64_t n) {
  float largest = to_float(row[0]);
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, to_float(row[i]));
  return largest;
}

/// sum of e^(row - shift)
template <typename Logit>
FREELUNCH_INLINE double sum_of_exponentials(const Logit* row, int64_t n, float shift) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t end = std::min(begin + kPart, n);
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = begin; i < end; ++i) part += exponential(to_float(row[i]) - shift);
    total += part;
  }
  return total;
}

template <typename Logit>
FREELUNCH_INLINE double kl_row(int64_t n, Logit* p, const Logit* q, float scale) {
  const float p_max = largest_of(p, n);
  const float q_max = largest_of(q, n);
  const double p_sum = sum_of_exponentials(p, n, p_max);
  double q_sum = 0;
  double cross = 0;  // of e^(q - q_max) (q - p)
  for (int64_t begin = 0; begin < n; begin += kPart) {
    const int64_t end = std::min(begin + kPart, n);
    float sum_part = 0;
    float cross_part = 0;
#pragma omp simd reduction(+ : sum_part, cross_part)
    for (int64_t i = begin; i < end; ++i) {
      const float shifted = to_float(q[i]) - q_max;
      const float e = exponential(shifted);
      sum_part += e;
      cross_part += e * (shifted - (to_float(p[i]) - p_max));
    }
    q_sum += sum_part;
    cross += cross_part;
  }
  if (scale != 0) {
    const float p_factor = static_cast<float>(scale / p_sum);
    const float q_factor = static_cast<float>(scale / q_sum);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      const float difference =
          exponential(to_float(p[i]) - p_max) * p_factor - exponential(to_float(q[i]) - q_max) * q_factor;
      store(difference, p + i);
    }
  }
  return cross / q_sum - std::log(q_sum) + std::log(p_sum);
}

template <typename Logit>
FREELUNCH_INLINE double ce_row(int64_t n, Logit* p, int64_t next, float scale) {
  const float p_max = largest_of(p, n);
  const float target = to_float(p[next]) - p_max;
  const double p_sum = sum_of_exponentials(p, n, p_max);
  if (scale != 0) {
    const float factor = static_cast<float>(scale / p_sum);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(exponential(to_float(p[i]) - p_max) * factor, p + i);
    store(exponential(target) * factor - scale, p + next);
  }
  return std::log(p_sum) - target;
}

// target_clones does not work on templates, so each row kernel is written out for both types.
FREELUNCH_CLONES double kl_of(int64_t n, Bf16* p, const Bf16* q, float scale) {
  return kl_row(n, p, q, scale);
}
FREELUNCH_CLONES double kl_of(int64_t n, float* p, const float* q, float scale) {
  return kl_row(n, p, q, scale);
}
FREELUNCH_CLONES double ce_of(int64_t n, Bf16* p, int64_t next, float scale) {
  return ce_row(n, p, next, scale);
}
FREELUNCH_CLONES double ce_of(int64_t n, float* p, int64_t next, float scale) {
  return ce_row(n, p, next, scale);
}

}  // namespace

template <typename Logit>
void kl_rows(int64_t rows, int64_t vocabulary, Logit* logits, const Logit* dense, float scale, double* sums) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r)
    sums[r] = kl_of(vocabulary, logits + r * vocabulary, dense + r * vocabulary, scale);
}

template <typename Logit>
void ce_rows(int64_t rows, int64_t vocabulary, Logit* logits, const int64_t* next, float scale,
             double* sums) {
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r) sums[r] = ce_of(vocabulary, logits + r * vocabulary, next[r], scale);
}

template void kl_rows(int64_t, int64_t, Bf16*, const Bf16*, float, double*);
template void kl_rows(int64_t, int64_t, float*, const float*, float, double*);
template void ce_rows(int64_t, int64_t, Bf16*, const int64_t*, float, double*);
template void ce_rows(int64_t, int64_t, float*, const int64_t*, float, double*);

}  // namespace freelunch::kernels
