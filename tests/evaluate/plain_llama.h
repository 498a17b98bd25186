#pragma once
#include <cmath>

#include "tiny_model_folder.h"

namespace freelunch {

/// Llama's forward pass in double, written from its definition and without the library's code: the log
/// probabilities (l, vocabulary) that tiny_tensors give after each of the tokens.
inline at::Tensor plain_log_probabilities(const Tensors& tensors, const std::vector<int64_t>& tokens) {
  const auto w = [&](const std::string& name) { return tensors.at(name + ".weight").to(at::kDouble); };
  const auto norm = [](const at::Tensor& x, const at::Tensor& weight) {
    return x / (x.square().mean(-1, true) + 1e-5).sqrt() * weight;
  };
  const auto l = static_cast<int64_t>(tokens.size());
  const int64_t heads = 4;
  const int64_t dim = 4;
  // position p turns the pair (i, i + dim / 2) of each head by the angle p * 10000^(-2 i / dim)
  const auto rotate = [&](const at::Tensor& x) {  // (l, heads, dim)
    at::Tensor y = x.clone();
    for (int64_t p = 0; p < l; ++p) {
      for (int64_t i = 0; i < dim / 2; ++i) {
        const double angle = static_cast<double>(p) * std::pow(10000.0, -2.0 * static_cast<double>(i) / dim);
        const at::Tensor a = x[p].select(1, i);
        const at::Tensor b = x[p].select(1, i + dim / 2);
        y[p].select(1, i).copy_(a * std::cos(angle) - b * std::sin(angle));
        y[p].select(1, i + dim / 2).copy_(b * std::cos(angle) + a * std::sin(angle));
      }
    }
    return y;
  };
  at::Tensor x = w("model.embed_tokens").index_select(0, at::tensor(tokens));
  for (const std::string block : {"model.layers.0.", "model.layers.1."}) {
    const at::Tensor h = norm(x, w(block + "input_layernorm"));
    const auto project = [&](const std::string& name, int64_t n) {
      return h.matmul(w(block + "self_attn." + name).t()).view({l, n, dim});
    };
    const at::Tensor q = rotate(project("q_proj", heads));
    const at::Tensor k = rotate(project("k_proj", 2)).repeat_interleave(2, 1);
    const at::Tensor v = project("v_proj", 2).repeat_interleave(2, 1);
    at::Tensor scores = at::einsum("phd,qhd->hpq", {q, k}) / std::sqrt(static_cast<double>(dim));
    scores = scores.masked_fill(at::ones({l, l}, at::kBool).triu(1), -INFINITY);
    const at::Tensor attended = at::einsum("hpq,qhd->phd", {at::softmax(scores, -1), v}).reshape({l, 16});
    x = x + attended.matmul(w(block + "self_attn.o_proj").t());
    const at::Tensor m = norm(x, w(block + "post_attention_layernorm"));
    const at::Tensor gate = m.matmul(w(block + "mlp.gate_proj").t());
    const at::Tensor up = m.matmul(w(block + "mlp.up_proj").t());
    x = x + (gate * at::sigmoid(gate) * up).matmul(w(block + "mlp.down_proj").t());
  }
  return at::log_softmax(norm(x, w("model.norm")).matmul(w("lm_head").t()), -1);
}

/// log p of the tokens from `first` on, each given all tokens before it.
inline double plain_log_likelihood(const Tensors& tensors, const std::vector<int64_t>& tokens, size_t first) {
  const at::Tensor log_p = plain_log_probabilities(tensors, tokens);
  double sum = 0;
  for (size_t i = first; i < tokens.size(); ++i)
    sum += log_p[static_cast<int64_t>(i) - 1][tokens[i]].item<double>();
  return sum;
}

}  // namespace freelunch
