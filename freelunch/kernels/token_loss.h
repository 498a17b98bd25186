#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// Losses of rows of logits (rows, vocabulary); Logit is Bf16 or float. Exponentials are computed in fp32
/// relative to the maximum of the row; 1024 of them are summed in fp32, and these sums in fp64. Threads share
/// the rows, so results do not depend on the number of threads.

/// sums (rows) receives KL(q || p) in nats: q is the softmax of `dense`, p that of `logits`. If scale is not
/// 0, `logits` is overwritten with the gradient of scale * KL with respect to it.
template <typename Logit>
void kl_rows(int64_t rows, int64_t vocabulary, Logit* logits, const Logit* dense, float scale, double* sums);

/// sums (rows) receives -log p(next) in nats, `logits` its gradient as above. next (rows): token ids, each
/// below `vocabulary`.
template <typename Logit>
void ce_rows(int64_t rows, int64_t vocabulary, Logit* logits, const int64_t* next, float scale, double* sums);

}  // namespace freelunch::kernels
