#include "freelunch/nn/tiled_attention.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "freelunch/gemm/gemm_bf16.h"
#include "freelunch/kernels/attention_tiles.h"
#include "freelunch/kernels/parallel.h"

namespace freelunch::model {
namespace {

using gemm::gemm_bf16;
using kernels::Bf16;

// Queries of a tile, and keys of a tile. Even.
constexpr int64_t kTokens = 128;
// A tile on the diagonal is multiplied in steps of so many tokens, to leave out what no query of a step sees.
constexpr int64_t kStep = 64;
// Keys whose scores for a tile of queries are held at once. They fit into a core's cache.
constexpr int64_t kSpan = 512;
// The tiles of a head are shared among so many threads, because models have few heads.
constexpr int64_t kParts = 2;

int64_t even(int64_t n) { return (n + 1) / 2 * 2; }

const Bf16* data(const at::Tensor& t) {
  return reinterpret_cast<const Bf16*>(t.const_data_ptr<at::BFloat16>());
}
Bf16* mutable_data(at::Tensor& t) { return reinterpret_cast<Bf16*>(t.mutable_data_ptr<at::BFloat16>()); }

/// Scratch memory for n values, not initialised. A tensor holds it, so that the allocator reuses it.
template <typename T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t n) : bytes_(at::empty({n * static_cast<int64_t>(sizeof(T))}, at::kByte)) {}
  T* get() const { return static_cast<T*>(bytes_.mutable_data_ptr()); }

 private:
  at::Tensor bytes_;
};

/// n windows of l tokens; heads of size e.
struct Sizes {
  int64_t n, l, heads, kv_heads, e;
  int64_t even() const { return (l + 1) / 2 * 2; }  // l, rounded up: bf16 GEMM takes its terms in pairs
  int64_t row() const { return heads * e; }         // from one token to the next, in q
  int64_t kv_row() const { return kv_heads * e; }   // the same in k and v
  int64_t group() const { return heads / kv_heads; }
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(e)); }
  /// Where head h of window i starts, in q and in k.
  int64_t at(int64_t i, int64_t h) const { return i * l * row() + h * e; }
  int64_t kv_at(int64_t i, int64_t h) const { return i * l * kv_row() + h * e; }
};

Sizes sizes_of(const at::Tensor& q, const at::Tensor& k) {
  return {.n = q.size(0), .l = q.size(1), .heads = q.size(2), .kv_heads = k.size(2), .e = q.size(3)};
}

/// visit(begin) for the first token of each tile of a part. Later tiles have more keys and fewer queries
/// after them, so parts take tiles in the order 0, 1, 1, 0, 0, 1, ..., which balances both.
template <typename Visit>
void for_each_tile(const Sizes& s, int64_t part, const Visit& visit) {
  for (int64_t begin = 0, tile = 0; begin < s.l; begin += kTokens, ++tile) {
    const int64_t turn = tile % (2 * kParts);
    if (std::min(turn, 2 * kParts - 1 - turn) == part) visit(begin);
  }
}

/// body(window, head, part) for all of them, by all threads.
template <typename Body>
void for_each_part(const Sizes& s, int64_t heads, const Body& body) {
  kernels::parallel_for(s.n * heads * kParts, [&](int64_t item) {
    body(item / kParts / heads, item / kParts % heads, item % kParts);
    gemm::end_bf16_gemm();
  });
}

/// One tile of keys against one tile of queries. On the diagonal they are the same tokens, and a query sees
/// the keys up to itself.
struct TileShape {
  int64_t keys, queries;
  bool diagonal;
};

/// Whether a product replaces the sums at its destination or adds to them.
enum class Sum : bool { kReplace, kAdd };

/// visit(first, count) for the steps of a tile's `tokens` keys or queries: one step off the diagonal.
template <typename Visit>
void for_each_step(int64_t tokens, bool diagonal, const Visit& visit) {
  const int64_t step = diagonal ? kStep : kTokens;
  for (int64_t first = 0; first < tokens; first += step) visit(first, std::min(step, tokens - first));
}

/// c (keys, queries) = rows (keys, e) times columns, paired (e / 2, queries).
void multiply_rows(const Sizes& s, const TileShape& tile, const Bf16* rows, const uint32_t* columns,
                   float* c) {
  const int64_t n = tile.queries;
  for_each_step(tile.keys, tile.diagonal, [&](int64_t first, int64_t count) {
    const int64_t query = tile.diagonal ? first : 0;
    gemm_bf16(count, n - query, s.e, rows + first * s.kv_row(), s.kv_row(), columns + query, n,
              c + first * n + query, n, /*add=*/false);
  });
}

/// bf16 (e, keys), rows `stride` apart.
struct Columns {
  const Bf16* data;
  int64_t stride;
};

/// Sums over the keys of a tile: c (e, queries) = or += columns (e, keys) times weights, paired
/// (keys / 2, queries).
void sum_keys(const Sizes& s, const TileShape& tile, const Columns& columns, const uint32_t* weights,
              float* c, Sum sum) {
  const int64_t n = tile.queries;
  for_each_step(n, tile.diagonal, [&](int64_t first, int64_t count) {
    const int64_t seen = tile.diagonal ? std::min(tile.keys, first + count) : tile.keys;
    gemm_bf16(s.e, count, even(seen), columns.data, columns.stride, weights + first, n, c + first, n,
              sum == Sum::kAdd);
  });
}

/// Sums over the queries of a tile: c (keys, e) = or += weights (keys, queries) times rows, paired
/// (queries / 2, e).
void sum_queries(const Sizes& s, const TileShape& tile, const Bf16* weights, const uint32_t* rows, float* c,
                 Sum sum) {
  const int64_t n = tile.queries;
  for_each_step(tile.keys, tile.diagonal, [&](int64_t first, int64_t count) {
    const int64_t query = tile.diagonal ? first : 0;
    gemm_bf16(count, s.e, even(n - query), weights + first * n + query, n, rows + query / 2 * s.e,
              c + first * s.e, s.e, sum == Sum::kAdd);
  });
}

/// Pointers into the tensors of one query head, forward: q and o (l, e) in q's layout, log_sum (l).
struct ForwardHead {
  const Bf16* q;
  Bf16* o;
  float* log_sum;
};

/// A part of one head of one window: o and log_sum. k (l, e) in its layout, v_columns: v's transpose
/// (e, even l).
void forward_part(const Sizes& s, int64_t part, const ForwardHead& head, const Bf16* k,
                  const Bf16* v_columns) {
  const auto& tiles = kernels::attention_tiles();
  const Scratch<uint32_t> queries(s.e / 2 * kTokens);
  const Scratch<float> scores(kSpan * kTokens);
  const Scratch<uint32_t> weights(kSpan / 2 * kTokens);
  const Scratch<float> out(s.e * kTokens);
  std::array<float, kTokens> largest, sum, rescale;
  for_each_tile(s, part, [&](int64_t begin) {
    const int64_t n = std::min(kTokens, s.l - begin);
    tiles.pair_columns(n, s.e, s.row(), head.q + begin * s.row(), queries.get());
    largest.fill(-std::numeric_limits<float>::infinity());
    sum.fill(0);
    for (int64_t span = 0; span < begin + n; span += kSpan) {
      const int64_t end = std::min(span + kSpan, begin + n);
      const auto tile_at = [&](int64_t key) {
        return TileShape{.keys = std::min(kTokens, end - key), .queries = n, .diagonal = key == begin};
      };
      // one product for each tile: few shapes, so LibTorch generates few kernels
      for (int64_t key = span; key < end; key += kTokens) {
        multiply_rows(s, tile_at(key), k + key * s.kv_row(), queries.get(), scores.get() + (key - span) * n);
      }
      tiles.softmax({.keys = end - span, .queries = n, .offset = begin - span, .scale = s.scale()},
                    scores.get(), weights.get(), {.largest = largest.data(), .sum = sum.data()},
                    rescale.data());
      if (span > 0) kernels::scale_columns(s.e, n, rescale.data(), out.get());
      for (int64_t key = span; key < end; key += kTokens) {
        sum_keys(s, tile_at(key), {.data = v_columns + key, .stride = s.even()},
                 weights.get() + (key - span) / 2 * n, out.get(), key > 0 ? Sum::kAdd : Sum::kReplace);
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      head.log_sum[begin + i] = largest[static_cast<size_t>(i)] + std::log(sum[static_cast<size_t>(i)]);
      rescale[static_cast<size_t>(i)] = 1 / sum[static_cast<size_t>(i)];
    }
    tiles.transpose_scaled(n, s.e, n, out.get(), rescale.data(), s.row(), head.o + begin * s.row());
  });
}

/// The queries of one head from `first` on, as the backward pass reads them, tile by tile: q and its output's
/// gradient d, paired along the width or along the queries, and delta (l), the dot products of o and d.
struct QueryTiles {
  Scratch<uint32_t> q_columns, d_columns, q_rows, d_rows;
  Scratch<float> delta;

  QueryTiles(const Sizes& s, int64_t first, const Bf16* q, const Bf16* o, const Bf16* d) : delta(s.l) {
    for (auto* buffer : {&q_columns, &d_columns, &q_rows, &d_rows})
      *buffer = Scratch<uint32_t>(s.even() / 2 * s.e);
    for (int64_t begin = first; begin < s.l; begin += kTokens) {
      const int64_t n = std::min(kTokens, s.l - begin);
      const int64_t at = begin / 2 * s.e;
      const int64_t from = begin * s.row();
      kernels::attention_tiles().row_dots(n, s.e, s.row(), o + from, d + from, delta.get() + begin);
      kernels::attention_tiles().pair_columns(n, s.e, s.row(), q + from, q_columns.get() + at);
      kernels::attention_tiles().pair_columns(n, s.e, s.row(), d + from, d_columns.get() + at);
      kernels::pair_rows(n, s.e, s.row(), q + from, q_rows.get() + at);
      kernels::pair_rows(n, s.e, s.row(), d + from, d_rows.get() + at);
    }
  }
};

/// Pointers into the tensors of one query head, backward: q, o and d (l, e) in q's layout, log_sum (l), dq
/// (tiles of (e, queries) fp32).
struct BackwardHead {
  const Bf16 *q, *o, *d;
  const float* log_sum;
  float* dq;
};

/// One tile of keys: pointers to its first row. k and v bf16 in k's layout, dk and dv sums (keys, e).
struct KeyPointers {
  const Bf16 *k, *v;
  float *dk, *dv;
};

/// What the sums of the backward pass already hold.
struct Earlier {
  bool keys;   ///< dq holds sums over earlier tiles of keys
  bool heads;  ///< dk and dv hold sums over earlier query heads
};

/// The backward pass of one tile of keys for one query head: adds to dk, dv and dq.
class KeyTile {
 public:
  KeyTile(const Sizes& s) : s_(s) {
    // With an odd number of queries a row is read one element too far, against a row of zeros. That element
    // must not be NaN.
    std::fill_n(weights_.get(), kTokens * kTokens + 1, Bf16{0});
    std::fill_n(d_scores_.get(), kTokens * kTokens + 1, Bf16{0});
  }

  void backward(int64_t key, const KeyPointers& at_key, const QueryTiles& queries, const BackwardHead& head,
                const Earlier& earlier) {
    const int64_t keys = std::min(kTokens, s_.l - key);
    const auto& tiles = kernels::attention_tiles();
    tiles.transpose(keys, s_.e, s_.kv_row(), at_key.k, even(keys), k_columns_.get());
    for (int64_t begin = key; begin < s_.l; begin += kTokens) {
      const int64_t n = std::min(kTokens, s_.l - begin);
      const int64_t at = begin / 2 * s_.e;
      const TileShape tile{.keys = keys, .queries = n, .diagonal = begin == key};
      const Sum key_sum = earlier.heads || !tile.diagonal ? Sum::kAdd : Sum::kReplace;
      multiply_rows(s_, tile, at_key.k, queries.q_columns.get() + at, scores_.get());
      multiply_rows(s_, tile, at_key.v, queries.d_columns.get() + at, d_weights_.get());
      tiles.softmax_backward({.keys = keys, .queries = n, .offset = begin - key, .scale = s_.scale()},
                             scores_.get(), d_weights_.get(), head.log_sum + begin,
                             queries.delta.get() + begin, weights_.get(), d_scores_.get(), paired_.get());
      sum_queries(s_, tile, weights_.get(), queries.d_rows.get() + at, at_key.dv, key_sum);
      sum_queries(s_, tile, d_scores_.get(), queries.q_rows.get() + at, at_key.dk, key_sum);
      sum_keys(s_, tile, {.data = k_columns_.get(), .stride = even(keys)}, paired_.get(),
               head.dq + begin * s_.e, earlier.keys ? Sum::kAdd : Sum::kReplace);
    }
  }

 private:
  const Sizes& s_;
  Scratch<float> scores_{kTokens * kTokens}, d_weights_{kTokens * kTokens};
  Scratch<Bf16> weights_{kTokens * kTokens + 1}, d_scores_{kTokens * kTokens + 1}, k_columns_{kTokens * s_.e};
  Scratch<uint32_t> paired_{kTokens * kTokens / 2};
};

/// Pointers into the tensors of one key head, (l, e) bf16 in k's layout.
struct KeyHead {
  const Bf16 *k, *v;
  Bf16 *dk, *dv;
};

/// A part of one key head of one window, for the query heads that share it: dk and dv of the part's keys, and
/// dq summed over these keys alone, before the scale.
void backward_part(const Sizes& s, int64_t part, const KeyHead& keys,
                   const std::vector<BackwardHead>& heads) {
  KeyTile tile(s);
  const Scratch<float> sums_k(s.l * s.e);
  const Scratch<float> sums_v(s.l * s.e);
  for (const BackwardHead& head : heads) {
    const QueryTiles queries(s, part * kTokens, head.q, head.o, head.d);
    for_each_tile(s, part, [&](int64_t key) {
      const KeyPointers at_key{.k = keys.k + key * s.kv_row(),
                               .v = keys.v + key * s.kv_row(),
                               .dk = sums_k.get() + key * s.e,
                               .dv = sums_v.get() + key * s.e};
      tile.backward(key, at_key, queries, head,
                    {.keys = key > part * kTokens, .heads = &head != heads.data()});
    });
  }
  for_each_tile(s, part, [&](int64_t key) {
    const int64_t n = std::min(kTokens, s.l - key);
    const int64_t to = key * s.kv_row();
    kernels::round_scaled(n, s.e, sums_k.get() + key * s.e, s.scale(), s.kv_row(), keys.dk + to);
    kernels::round_scaled(n, s.e, sums_v.get() + key * s.e, 1, s.kv_row(), keys.dv + to);
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
      kernels::add(n * s.e, sum + part * apart, sum);
    kernels::attention_tiles().transpose_scaled(n, s.e, n, sum, scale.data(), s.row(), dq + begin * s.row());
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
    const Scratch<Bf16> v_columns(s.n * s.kv_heads * s.e * s.even());
    const auto columns = [&](int64_t i, int64_t h) {
      return v_columns.get() + (i * s.kv_heads + h) * s.e * s.even();
    };
    kernels::parallel_for(s.n * s.kv_heads, [&](int64_t item) {
      const int64_t i = item / s.kv_heads;
      const int64_t h = item % s.kv_heads;
      kernels::attention_tiles().transpose(s.l, s.e, s.kv_row(), from_v + s.kv_at(i, h), s.even(),
                                           columns(i, h));
    });
    for_each_part(s, s.heads, [&](int64_t i, int64_t h, int64_t part) {
      const int64_t shared = h / s.group();
      const ForwardHead head{
          .q = from_q + s.at(i, h), .o = to + s.at(i, h), .log_sum = sums + (i * s.heads + h) * s.l};
      forward_part(s, part, head, from_k + s.kv_at(i, shared), columns(i, shared));
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
    const Scratch<float> parts(kParts * q.numel());  // of dq; (parts, n, heads, l, e)
    for_each_part(s, s.kv_heads, [&](int64_t i, int64_t h, int64_t part) {
      std::vector<BackwardHead> heads;
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
      backward_part(s, part, {.k = from_k + at, .v = from_v + at, .dk = to_k + at, .dv = to_v + at}, heads);
    });
    kernels::parallel_for(s.n * s.heads, [&](int64_t item) {
      const int64_t i = item / s.heads;
      const int64_t h = item % s.heads;
      sum_parts(s, parts.get() + item * s.l * s.e, q.numel(), to_q + s.at(i, h));
    });
    return {dq, dk, dv};
  }
};

}  // namespace

at::Tensor tiled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return TiledAttention::apply(q.contiguous(), k.contiguous(), v.contiguous());
}

}  // namespace freelunch::model
