#pragma once
#include <ATen/core/TensorBody.h>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// The dense model's hidden states after the final norm on the held-out windows, (held_out, l, d) bf16 on the
/// CPU. Computed once and kept in the dense scratch file. The run must have held-out windows.
at::Tensor dense_hidden_of_held_out(RunContext& run);

/// Mean KL(dense || ours) of next-token distributions in nats per token, from hidden states after the final
/// norm: ours and dense (tokens, d).
double mean_divergence(const at::Tensor& ours, const at::Tensor& dense, const model::Head& head);

/// Mean KL(dense model || weights) of next-token distributions over the held-out windows, in nats per token;
/// all positions but the last of each window count. NaN or infinite if the logits are not finite. This is the
/// loss `kl` of a whole-model stage, number for number. The head is that of the model in work. Holds the
/// residual streams of a few windows, and one block or the head. The run must have held-out windows.
double dense_divergence(RunContext& run, const model::WeightView& weights);

}  // namespace freelunch::pipeline
