#include "model/attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "kernels/attention_tiles.h"
#include "kernels/parallel.h"
#include "products/bf16_product.h"

namespace freelunch::model {
namespace {

using kernels::Bf16;
using products::multiply_bf16;

constexpr int64_t kTokens = 128;  // queries, and keys, of a tile; even

int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

const Bf16* data(const at::Tensor& t) {
  return reinterpret_cast<const Bf16*>(t.const_data_ptr<at::BFloat16>());
}
Bf16* mutable_data(at::Tensor& t) { return reinterpret_cast<Bf16*>(t.mutable_data_ptr<at::BFloat16>()); }

/// Memory that is written before it is read; a tensor's, so that the next call can have it again.
template <typename T>
class Room {
 public:
  Room() = default;
  explicit Room(int64_t n) : bytes_(at::empty({n * static_cast<int64_t>(sizeof(T))}, at::kByte)) {}
  T* get() const { return static_cast<T*>(bytes_.mutable_data_ptr()); }

 private:
  at::Tensor bytes_;
};
template <typename T>
Room<T> room(int64_t n) {
  return Room<T>(n);
}

struct Sizes {
  int64_t n, l, heads, kv_heads, e;
  int64_t even() const { return (l + 1) / 2 * 2; }  // of l: bf16 products take their terms in pairs
  int64_t row() const { return heads * e; }         // from one token to the next, in q
  int64_t kv_row() const { return kv_heads * e; }   // in k and v
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(e)); }
  /// Where head h of window i starts, in q and in k.
  int64_t at(int64_t i, int64_t h) const { return i * l * row() + h * e; }
  int64_t kv_at(int64_t i, int64_t h) const { return i * l * kv_row() + h / (heads / kv_heads) * e; }
};

Sizes sizes_of(const at::Tensor& q, const at::Tensor& k) {
  return {.n = q.size(0), .l = q.size(1), .heads = q.size(2), .kv_heads = k.size(2), .e = q.size(3)};
}

/// rows (l, e) -> (e, even l), the column that is too many zero
Room<Bf16> columns_of(const Sizes& s, const Bf16* rows) {
  auto columns = room<Bf16>(s.e * s.even());
  for (int64_t c = 0; c < s.e; ++c) columns.get()[(c + 1) * s.even() - 1] = 0;
  kernels::transpose(s.l, s.e, s.kv_row(), rows, s.even(), columns.get());
  return columns;
}

/// One head of one window: o (l, e) and log_sum (l).
void forward_head(const Sizes& s, const Bf16* q, const Bf16* k, const Bf16* v, Bf16* o, float* log_sum) {
  const auto v_columns = columns_of(s, v);
  const auto queries = room<uint32_t>(s.e / 2 * kTokens);
  const auto scores = room<float>(s.l * kTokens);
  const auto weights = room<uint32_t>(s.even() / 2 * kTokens);
  const auto out = room<float>(s.e * kTokens);
  const auto inverse = room<float>(kTokens);
  for (int64_t begin = 0; begin < s.l; begin += kTokens) {
    const int64_t n = std::min(kTokens, s.l - begin);
    const int64_t keys = begin + n;
    kernels::pair_columns(n, s.e, s.row(), q + begin * s.row(), queries.get());
    // products of one tile each: few shapes, so few kernels to be generated
    for (int64_t key = 0; key < keys; key += kTokens)
      multiply_bf16(std::min(kTokens, keys - key), n, s.e, k + key * s.kv_row(), s.kv_row(), queries.get(),
                    scores.get() + key * n, n, false);
    kernels::softmax({.keys = keys, .queries = n, .offset = begin, .scale = s.scale()}, scores.get(),
                     weights.get(), inverse.get(), log_sum + begin);
    for (int64_t key = 0; key < keys; key += kTokens)
      multiply_bf16(s.e, n, even(std::min(kTokens, keys - key)), v_columns.get() + key, s.even(),
                    weights.get() + key / 2 * n, out.get(), n, key > 0);
    kernels::transpose_scaled(n, s.e, n, out.get(), inverse.get(), s.row(), o + begin * s.row());
  }
}

/// What the backward pass of one head holds of its queries, tile by tile.
struct QueryTiles {
  // q and its output's gradient d, paired along the width or along the queries
  Room<uint32_t> q_columns, d_columns, q_rows, d_rows;
  Room<float> delta;

  QueryTiles(const Sizes& s, const Bf16* q, const Bf16* o, const Bf16* d) : delta(room<float>(s.l)) {
    for (auto* buffer : {&q_columns, &d_columns, &q_rows, &d_rows})
      *buffer = room<uint32_t>(s.even() / 2 * s.e);
    kernels::row_dots(s.l, s.e, s.row(), o, d, delta.get());
    for (int64_t begin = 0; begin < s.l; begin += kTokens) {
      const int64_t n = std::min(kTokens, s.l - begin);
      const int64_t at = begin / 2 * s.e;
      kernels::pair_columns(n, s.e, s.row(), q + begin * s.row(), q_columns.get() + at);
      kernels::pair_columns(n, s.e, s.row(), d + begin * s.row(), d_columns.get() + at);
      kernels::pair_rows(n, s.e, s.row(), q + begin * s.row(), q_rows.get() + at);
      kernels::pair_rows(n, s.e, s.row(), d + begin * s.row(), d_rows.get() + at);
    }
  }
};

/// One head of one window: dq (l, e) bf16, in q's layout; dk, dv (l, e) fp32, contiguous.
void backward_head(const Sizes& s, const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* o, const Bf16* d,
                   const float* log_sum, Bf16* dq, float* dk, float* dv) {
  const QueryTiles tiles(s, q, o, d);
  const auto k_columns = columns_of(s, k);
  const auto dq_columns = room<float>(s.e * s.l);  // (e, l)
  const auto scores = room<float>(kTokens * kTokens);
  const auto d_weights = room<float>(kTokens * kTokens);
  // rows of an odd number of queries are read one further, against a row of zeros: that must be a number
  const auto weights = std::make_unique<Bf16[]>(kTokens * kTokens + 1);
  const auto d_scores = std::make_unique<Bf16[]>(kTokens * kTokens + 1);
  const auto d_scores_paired = room<uint32_t>(kTokens * kTokens / 2);
  for (int64_t key = 0; key < s.l; key += kTokens) {
    const int64_t keys = std::min(kTokens, s.l - key);
    const Bf16* k_rows = k + key * s.kv_row();
    const Bf16* v_rows = v + key * s.kv_row();
    for (int64_t begin = key; begin < s.l; begin += kTokens) {
      const int64_t n = std::min(kTokens, s.l - begin);
      const int64_t at = begin / 2 * s.e;
      const bool add = begin > key;
      multiply_bf16(keys, n, s.e, k_rows, s.kv_row(), tiles.q_columns.get() + at, scores.get(), n, false);
      multiply_bf16(keys, n, s.e, v_rows, s.kv_row(), tiles.d_columns.get() + at, d_weights.get(), n, false);
      kernels::softmax_backward({.keys = keys, .queries = n, .offset = begin - key, .scale = s.scale()},
                                scores.get(), d_weights.get(), log_sum + begin, tiles.delta.get() + begin,
                                weights.get(), d_scores.get(), d_scores_paired.get());
      multiply_bf16(keys, s.e, even(n), weights.get(), n, tiles.d_rows.get() + at, dv + key * s.e, s.e, add);
      multiply_bf16(keys, s.e, even(n), d_scores.get(), n, tiles.q_rows.get() + at, dk + key * s.e, s.e, add);
      multiply_bf16(s.e, n, even(keys), k_columns.get() + key, s.even(), d_scores_paired.get(),
                    dq_columns.get() + begin, s.l, key > 0);
    }
  }
  kernels::transpose_scaled(s.l, s.e, s.l, dq_columns.get(), nullptr, s.row(), dq);
}

class TiledAttention : public torch::autograd::Function<TiledAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& q,
                            const at::Tensor& k, const at::Tensor& v) {
    const Sizes s = sizes_of(q, k);
    at::Tensor o = at::empty_like(q);
    at::Tensor log_sum = at::empty({s.n, s.heads, s.l}, q.options().dtype(at::kFloat));
    const Bf16 *from_q = data(q), *from_k = data(k), *from_v = data(v);
    Bf16* to = mutable_data(o);
    float* sums = log_sum.mutable_data_ptr<float>();
    kernels::parallel_for(s.n * s.heads, [&](int64_t item) {
      const int64_t i = item / s.heads;
      const int64_t h = item % s.heads;
      forward_head(s, from_q + s.at(i, h), from_k + s.kv_at(i, h), from_v + s.kv_at(i, h), to + s.at(i, h),
                   sums + item * s.l);
      products::end_bf16_products();
    });
    context->save_for_backward({q, k, v, o, log_sum});
    return o;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &o = saved[3], &log_sum = saved[4];
    const at::Tensor d = gradients[0].contiguous();
    const Sizes s = sizes_of(q, k);
    at::Tensor dq = at::empty_like(q);
    at::Tensor dk = at::empty({s.n, s.heads, s.l, s.e}, q.options().dtype(at::kFloat));
    at::Tensor dv = at::empty_like(dk);
    const Bf16 *from_q = data(q), *from_k = data(k), *from_v = data(v), *from_o = data(o), *from_d = data(d);
    const float* sums = log_sum.const_data_ptr<float>();
    Bf16* to_q = mutable_data(dq);
    float* to_k = dk.mutable_data_ptr<float>();
    float* to_v = dv.mutable_data_ptr<float>();
    kernels::parallel_for(s.n * s.heads, [&](int64_t item) {
      const int64_t i = item / s.heads;
      const int64_t h = item % s.heads;
      backward_head(s, from_q + s.at(i, h), from_k + s.kv_at(i, h), from_v + s.kv_at(i, h),
                    from_o + s.at(i, h), from_d + s.at(i, h), sums + item * s.l, to_q + s.at(i, h),
                    to_k + item * s.l * s.e, to_v + item * s.l * s.e);
      products::end_bf16_products();
    });
    const auto shared = [&](const at::Tensor& t) {  // the sum over the heads that share a key head
      return t.view({s.n, s.kv_heads, s.heads / s.kv_heads, s.l, s.e})
          .sum(2)
          .transpose(1, 2)
          .to(at::kBFloat16, /*non_blocking=*/false, /*copy=*/false, at::MemoryFormat::Contiguous);
    };
    return {dq, shared(dk), shared(dv)};
  }
};

/// (n, l, heads, e) -> (n, all heads, l, e): keys and values once for each query head that shares them.
at::Tensor heads_first(const at::Tensor& t, int64_t all) {
  const at::Tensor heads = t.transpose(1, 2);
  if (t.size(2) == all) return heads;
  return heads.unsqueeze(2)
      .expand({t.size(0), t.size(2), all / t.size(2), t.size(1), t.size(3)})
      .reshape({t.size(0), all, t.size(1), t.size(3)});
}

bool tiles_serve(const at::Tensor& q, const at::Tensor& mask) {
  return products::has_bf16_products() && !mask.defined() && q.is_cpu() && q.scalar_type() == at::kBFloat16 &&
         q.size(3) % 2 == 0;
}

}  // namespace

at::Tensor reference_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& mask) {
  const int64_t all = q.size(2);
  const bool masked = mask.defined();
  return at::scaled_dot_product_attention(heads_first(q, all), heads_first(k, all), heads_first(v, all),
                                          masked ? std::optional(mask) : std::nullopt, /*dropout_p=*/0.0,
                                          /*is_causal=*/!masked)
      .transpose(1, 2);
}

at::Tensor capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& mask, double cap) {
  const int64_t l = q.size(1);
  const int64_t all = q.size(2);
  const at::Tensor sees = mask.defined() ? mask : at::ones({l, l}, q.options().dtype(at::kBool)).tril();
  const double scale = 1 / (cap * std::sqrt(static_cast<double>(q.size(3))));
  const at::Tensor scores =
      at::matmul(heads_first(q, all), heads_first(k, all).transpose(-1, -2)).to(at::kFloat) * scale;
  const at::Tensor capped =
      (scores.tanh() * cap).masked_fill(sees.logical_not(), -std::numeric_limits<float>::infinity());
  return at::matmul(at::softmax(capped, -1).to(v.scalar_type()), heads_first(v, all)).transpose(1, 2);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask) {
  if (!tiles_serve(q, mask)) return reference_attention(q, k, v, mask);
  return TiledAttention::apply(q.contiguous(), k.contiguous(), v.contiguous());
}

}  // namespace freelunch::model
