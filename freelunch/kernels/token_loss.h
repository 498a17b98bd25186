#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// Rows of logits (rows, vocabulary), bf16 or fp32, one row after the other. Softmaxes are formed in fp32
/// about the row's maximum, sums over a row in fp64 of fp32 parts. Threads share the rows; every row's figure
/// is its own.

/// sums (rows): KL(q, p) in nats, q from `dense`. If scale is not 0, the gradient of scale * sum by `logits`
/// overwrites them.
template <typename Logit>  // Bf16 or float
void kl_rows(int64_t rows, int64_t vocabulary, Logit* logits, const Logit* dense, float scale, double* sums);

/// sums (rows): -log p(next) in nats; the gradient likewise. next (rows): token ids inside the vocabulary.
template <typename Logit>
void ce_rows(int64_t rows, int64_t vocabulary, Logit* logits, const int64_t* next, float scale, double* sums);

}  // namespace freelunch::kernels
