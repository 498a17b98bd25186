#include "freelunch/nn/attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "freelunch/gemm/gemm_bf16.h"
#include "freelunch/kernels/attention_tiles.h"
#include "freelunch/kernels/bf16_layout.h"
#include "freelunch/kernels/elementwise.h"
#include "freelunch/kernels/parallel.h"

namespace freelunch::model {
namespace {

using gemm::gemm_bf16;
using kernels::Bf16;
using kernels::Output;

constexpr int64_t kTokens = 128;  // queries, and keys, of a tile; even
constexpr int64_t kStep = 64;     // of them, on the diagonal: what no query of a step sees is not multiplied
constexpr int64_t kSpan =
    512;  // keys whose scores for a tile of queries are held at once, within a core's cache
constexpr int64_t kParts = 2;  // of a head's tiles, for different threads: heads are few

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
  int64_t group() const { return heads / kv_heads; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(e)); }
  /// Where head h of window i starts, in q and in k.
  int64_t at(int64_t i, int64_t h) const { return i * l * row() + h * e; }
  int64_t kv_at(int64_t i, int64_t h) const { return i * l * kv_row() + h * e; }
};

Sizes sizes_of(const at::Tensor& q, const at::Tensor& k) {
  return {.n = q.size(0), .l = q.size(1), .heads = q.size(2), .kv_heads = k.size(2), .e = q.size(3)};
}

/// visit(begin) for the first token of each tile of a part. The longer a tile's row of the triangle the
/// shorter its column, so parts take tiles in turn and back: 0, 1, 1, 0, and so on.
template <typename Visit>
void for_each_tile(const Sizes& s, int64_t part, const Visit& visit) {
  for (int64_t begin = 0, tile = 0; begin < s.l; begin += kTokens, ++tile) {
    const int64_t turn = tile % (2 * kParts);
    if (std::min(turn, 2 * kParts - 1 - turn) == part) visit(begin);
  }
}

/// body(window, head, part) for all, by all threads.
template <typename Body>
void for_each_part(const Sizes& s, int64_t heads, const Body& body) {
  kernels::parallel_for(s.n * heads * kParts, [&](int64_t item) {
    body(item / kParts / heads, item / kParts % heads, item % kParts);
    gemm::end_bf16_gemm();
  });
}

/// visit(first, count) for the steps of `tokens` keys or queries of a tile, which off the diagonal are all.
template <typename Visit>
void for_each_step(int64_t tokens, bool diagonal, const Visit& visit) {
  const int64_t step = diagonal ? kStep : kTokens;
  for (int64_t first = 0; first < tokens; first += step) visit(first, std::min(step, tokens - first));
}

/// A tile of n queries against keys: c (keys, n) = rows (keys, e) times columns in VNNI layout, (e / 2, n).
void multiply_rows(const Sizes& s, int64_t keys, int64_t n, bool diagonal, const Bf16* rows,
                   const uint32_t* columns, float* c) {
  for_each_step(keys, diagonal, [&](int64_t first, int64_t count) {
    const int64_t query = diagonal ? first : 0;
    gemm_bf16({.m = count, .n = n - query, .k = s.e}, {rows + first * s.kv_row(), s.kv_row()},
              {columns + query, n}, {c + first * n + query, n}, Output::kReplace);
  });
}

/// Sums over the keys of a tile: c (e, n) = or += columns (e, keys), `stride` apart, times weights in VNNI
/// layout, (keys / 2, n).
void sum_keys(const Sizes& s, int64_t keys, int64_t n, bool diagonal, const Bf16* columns, int64_t stride,
              const uint32_t* weights, float* c, Output output) {
  for_each_step(n, diagonal, [&](int64_t first, int64_t count) {
    const int64_t seen = diagonal ? std::min(keys, first + count) : keys;
    gemm_bf16({.m = s.e, .n = count, .k = even(seen)}, {columns, stride}, {weights + first, n},
              {c + first, n}, output);
  });
}

/// Sums over the queries of a tile: c (keys, e) = or += weights (keys, n) times rows in VNNI layout, (n / 2, e).
void sum_queries(const Sizes& s, int64_t keys, int64_t n, bool diagonal, const Bf16* weights,
                 const uint32_t* rows, float* c, Output output) {
  for_each_step(keys, diagonal, [&](int64_t first, int64_t count) {
    const int64_t query = diagonal ? first : 0;
    gemm_bf16({.m = count, .n = s.e, .k = even(n - query)}, {weights + first * n + query, n},
              {rows + query / 2 * s.e, s.e}, {c + first * s.e, s.e}, output);
  });
}

/// A part of one head of one window: o (l, e) and log_sum (l). v_columns: v's transpose (e, even l).
void forward_part(const Sizes& s, int64_t part, const Bf16* q, const Bf16* k, const Bf16* v_columns, Bf16* o,
                  float* log_sum) {
  const auto& tiles = kernels::attention_tiles();
  const auto& layout = kernels::bf16_layout();
  const auto queries = room<uint32_t>(s.e / 2 * kTokens);
  const auto scores = room<float>(kSpan * kTokens);
  const auto weights = room<uint32_t>(kSpan / 2 * kTokens);
  const auto out = room<float>(s.e * kTokens);
  std::array<float, kTokens> largest, sum, rescale;
  for_each_tile(s, part, [&](int64_t begin) {
    const int64_t n = std::min(kTokens, s.l - begin);
    layout.transpose_to_vnni(n, s.e, {q + begin * s.row(), s.row()}, queries.get());
    largest.fill(-std::numeric_limits<float>::infinity());
    sum.fill(0);
    for (int64_t span = 0; span < begin + n; span += kSpan) {
      const int64_t end = std::min(span + kSpan, begin + n);
      // products of one tile each: few shapes, so few kernels to be generated
      for (int64_t key = span; key < end; key += kTokens) {
        multiply_rows(s, std::min(kTokens, end - key), n, key == begin, k + key * s.kv_row(), queries.get(),
                      scores.get() + (key - span) * n);
      }
      tiles.softmax({.keys = end - span, .queries = n, .offset = begin - span, .scale = s.scale()},
                    scores.get(), weights.get(), {.largest = largest.data(), .sum = sum.data()},
                    rescale.data());
      if (span > 0) kernels::scale_columns(s.e, n, rescale.data(), out.get());
      for (int64_t key = span; key < end; key += kTokens) {
        sum_keys(s, std::min(kTokens, end - key), n, key == begin, v_columns + key, s.even(),
                 weights.get() + (key - span) / 2 * n, out.get(), key > 0 ? Output::kAdd : Output::kReplace);
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      log_sum[begin + i] = largest[static_cast<size_t>(i)] + std::log(sum[static_cast<size_t>(i)]);
      rescale[static_cast<size_t>(i)] = 1 / sum[static_cast<size_t>(i)];
    }
    layout.transpose_scaled(n, s.e, {out.get(), n}, rescale.data(), {o + begin * s.row(), s.row()});
  });
}

/// What the backward pass of one head holds of its queries from `first` on, tile by tile.
struct QueryTiles {
  // q and its output's gradient d, paired along the width or along the queries
  Room<uint32_t> q_columns, d_columns, q_rows, d_rows;
  Room<float> delta;

  QueryTiles(const Sizes& s, int64_t first, const Bf16* q, const Bf16* o, const Bf16* d)
      : delta(room<float>(s.l)) {
    for (auto* buffer : {&q_columns, &d_columns, &q_rows, &d_rows})
      *buffer = room<uint32_t>(s.even() / 2 * s.e);
    for (int64_t begin = first; begin < s.l; begin += kTokens) {
      const int64_t n = std::min(kTokens, s.l - begin);
      const int64_t at = begin / 2 * s.e;
      const int64_t from = begin * s.row();
      kernels::attention_tiles().row_dots(n, s.e, s.row(), o + from, d + from, delta.get() + begin);
      kernels::bf16_layout().transpose_to_vnni(n, s.e, {q + from, s.row()}, q_columns.get() + at);
      kernels::bf16_layout().transpose_to_vnni(n, s.e, {d + from, s.row()}, d_columns.get() + at);
      kernels::to_vnni(n, s.e, {q + from, s.row()}, q_rows.get() + at);
      kernels::to_vnni(n, s.e, {d + from, s.row()}, d_rows.get() + at);
    }
  }
};

/// Pointers into (l, ...) of one head: of the query's kind, q, o and d in q's layout, log_sum (l), dq (tiles
/// of (e, queries) fp32).
struct QueryHead {
  const Bf16 *q, *o, *d;
  const float* log_sum;
  float* dq;
};

/// Backward of one tile of keys, for one query head: sums to dk and dv (keys, e), and to dq.
class KeyTile {
 public:
  KeyTile(const Sizes& s) : s_(s) {
    // rows of an odd number of queries are read one further, against a row of zeros: that must be a number
    std::fill_n(weights_.get(), kTokens * kTokens + 1, Bf16{0});
    std::fill_n(d_scores_.get(), kTokens * kTokens + 1, Bf16{0});
  }

  /// add_query: whether dq has sums of earlier keys; add_key: whether dk and dv have sums of earlier heads.
  void backward(int64_t key, const Bf16* k, const Bf16* v, const QueryTiles& queries, const QueryHead& head,
                bool add_query, bool add_key, float* dk, float* dv) {
    const int64_t keys = std::min(kTokens, s_.l - key);
    const auto& tiles = kernels::attention_tiles();
    kernels::bf16_layout().transpose(keys, s_.e, {k, s_.kv_row()}, {k_columns_.get(), even(keys)});
    for (int64_t begin = key; begin < s_.l; begin += kTokens) {
      const int64_t n = std::min(kTokens, s_.l - begin);
      const int64_t at = begin / 2 * s_.e;
      const bool diagonal = begin == key;
      const Output output = add_key || !diagonal ? Output::kAdd : Output::kReplace;
      multiply_rows(s_, keys, n, diagonal, k, queries.q_columns.get() + at, scores_.get());
      multiply_rows(s_, keys, n, diagonal, v, queries.d_columns.get() + at, d_weights_.get());
      tiles.softmax_backward(
          {.keys = keys, .queries = n, .offset = begin - key, .scale = s_.scale()},
          {.scores = scores_.get(),
           .d_weights = d_weights_.get(),
           .log_sum = head.log_sum + begin,
           .delta = queries.delta.get() + begin},
          {.weights = weights_.get(), .d_scores = d_scores_.get(), .d_scores_vnni = paired_.get()});
      sum_queries(s_, keys, n, diagonal, weights_.get(), queries.d_rows.get() + at, dv, output);
      sum_queries(s_, keys, n, diagonal, d_scores_.get(), queries.q_rows.get() + at, dk, output);
      sum_keys(s_, keys, n, diagonal, k_columns_.get(), even(keys), paired_.get(), head.dq + begin * s_.e,
               add_query ? Output::kAdd : Output::kReplace);
    }
  }

 private:
  const Sizes& s_;
  Room<float> scores_{kTokens * kTokens}, d_weights_{kTokens * kTokens};
  Room<Bf16> weights_{kTokens * kTokens + 1}, d_scores_{kTokens * kTokens + 1}, k_columns_{kTokens * s_.e};
  Room<uint32_t> paired_{kTokens * kTokens / 2};
};

/// A part of one key head of one window, for the query heads that share it: their dq, without the scale and
/// summed over this part's keys alone, and of these keys dk and dv, bf16 in k's layout.
void backward_part(const Sizes& s, int64_t part, const Bf16* k, const Bf16* v,
                   const std::vector<QueryHead>& heads, Bf16* dk, Bf16* dv) {
  KeyTile tile(s);
  const auto sums_k = room<float>(s.l * s.e);
  const auto sums_v = room<float>(s.l * s.e);
  for (const QueryHead& head : heads) {
    const QueryTiles queries(s, part * kTokens, head.q, head.o, head.d);
    for_each_tile(s, part, [&](int64_t key) {
      tile.backward(key, k + key * s.kv_row(), v + key * s.kv_row(), queries, head, key > part * kTokens,
                    &head != heads.data(), sums_k.get() + key * s.e, sums_v.get() + key * s.e);
    });
  }
  for_each_tile(s, part, [&](int64_t key) {
    const int64_t keys = std::min(kTokens, s.l - key);
    const int64_t to = key * s.kv_row();
    kernels::round_scaled(keys, s.e, sums_k.get() + key * s.e, s.scale(), {dk + to, s.kv_row()});
    kernels::round_scaled(keys, s.e, sums_v.get() + key * s.e, 1, {dv + to, s.kv_row()});
  });
}

/// One head's dq (l, e) bf16 in q's layout, from the sums of its parts, each (l, e) and `apart`.
void sum_parts(const Sizes& s, float* parts, int64_t apart, Bf16* dq) {
  std::array<float, kTokens> scale;
  scale.fill(s.scale());
  for (int64_t begin = 0; begin < s.l; begin += kTokens) {
    const int64_t n = std::min(kTokens, s.l - begin);
    float* sum = parts + begin * s.e;
    for (int64_t part = 1; part < kParts && part * kTokens <= begin; ++part)
      kernels::add_to(n * s.e, sum + part * apart, sum);
    kernels::bf16_layout().transpose_scaled(n, s.e, {sum, n}, scale.data(), {dq + begin * s.row(), s.row()});
  }
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
    const auto v_columns = room<Bf16>(s.n * s.kv_heads * s.e * s.even());
    const auto columns = [&](int64_t i, int64_t h) {
      return v_columns.get() + (i * s.kv_heads + h) * s.e * s.even();
    };
    kernels::parallel_for(s.n * s.kv_heads, [&](int64_t item) {
      const int64_t i = item / s.kv_heads;
      const int64_t h = item % s.kv_heads;
      kernels::bf16_layout().transpose(s.l, s.e, {from_v + s.kv_at(i, h), s.kv_row()},
                                       {columns(i, h), s.even()});
    });
    for_each_part(s, s.heads, [&](int64_t i, int64_t h, int64_t part) {
      const int64_t shared = h / s.group();
      forward_part(s, part, from_q + s.at(i, h), from_k + s.kv_at(i, shared), columns(i, shared),
                   to + s.at(i, h), sums + (i * s.heads + h) * s.l);
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
    at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    const Bf16 *from_q = data(q), *from_k = data(k), *from_v = data(v), *from_o = data(o), *from_d = data(d);
    Bf16 *to_q = mutable_data(dq), *to_k = mutable_data(dk), *to_v = mutable_data(dv);
    const float* sums = log_sum.const_data_ptr<float>();
    const auto parts = room<float>(kParts * q.numel());  // of dq; (parts, n, heads, l, e)
    for_each_part(s, s.kv_heads, [&](int64_t i, int64_t h, int64_t part) {
      std::vector<QueryHead> heads;
      for (int64_t g = h * s.group(); g < (h + 1) * s.group(); ++g) {
        const int64_t at = s.at(i, g);
        const int64_t row = (i * s.heads + g) * s.l;
        heads.push_back({.q = from_q + at,
                         .o = from_o + at,
                         .d = from_d + at,
                         .log_sum = sums + row,
                         .dq = parts.get() + part * q.numel() + row * s.e});
      }
      const int64_t at = s.kv_at(i, h);
      backward_part(s, part, from_k + at, from_v + at, heads, to_k + at, to_v + at);
    });
    kernels::parallel_for(s.n * s.heads, [&](int64_t item) {
      const int64_t i = item / s.heads;
      const int64_t h = item % s.heads;
      sum_parts(s, parts.get() + item * s.l * s.e, q.numel(), to_q + s.at(i, h));
    });
    return {dq, dk, dv};
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
  return gemm::has_bf16_gemm() && !mask.defined() && q.is_cpu() && q.scalar_type() == at::kBFloat16 &&
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
