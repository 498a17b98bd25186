#include "freelunch/kernels/masked_adam.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "freelunch/kernels/compaction.h"

namespace freelunch::kernels {
namespace {

constexpr int64_t kBufferSize = RetainedBits::kChunk + 16;  // compaction writes sixteen entries at a time
using Buffer = std::array<uint32_t, static_cast<size_t>(kBufferSize)>;

// The bits of an fp32 master are those of its bf16 weight, shifted up, plus a signed 16-bit remainder. The
// weight is rounded half up in magnitude, so the remainder fits and splitting and joining are exact.
FREELUNCH_INLINE uint32_t joined(uint32_t weight, int16_t remainder) {
  return (weight << 16U) + static_cast<uint32_t>(static_cast<int32_t>(remainder));
}
FREELUNCH_INLINE uint32_t rounded(uint32_t master) { return (master + 0x8000U) >> 16U; }

/// `size` is the size of the weight's update: the moments are those of the gradient with respect to w / size.
FREELUNCH_INLINE float advance(float w, float gradient, float size, float& first, float& second,
                               const AdamStep& a, float root) {
  const float g = gradient * size;
  first += (1 - a.beta1) * (g - first);
  second = a.beta2 * second + (1 - a.beta2) * g * g;
  return w - size * ((a.rate / a.correction1) * first / (std::sqrt(second) * root + a.epsilon));
}

constexpr uint32_t kMagnitude = 0x7fffffffU;  // all bits but the sign
constexpr uint32_t kInfinite = 0x7f800000U;   // the bits of infinity; those of NaN are larger

/// Steps n gathered weights. Returns whether all second moments are finite; they are not if a gradient or its
/// square is not.
FREELUNCH_CLONES bool step_bf16(int64_t n, uint32_t* weights, int16_t* remainders, float* first,
                                float* second, const uint32_t* gradient, const float* size,
                                const AdamStep& adam) {
  const AdamStep a = adam;
  const float root = 1 / std::sqrt(a.correction2);
  uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) {
    const float g = std::bit_cast<float>(gradient[i] << 16U);
    const float w = std::bit_cast<float>(joined(weights[i], remainders[i]));
    const auto bits = std::bit_cast<uint32_t>(advance(w, g, size[i], first[i], second[i], a, root));
    largest = std::max(largest, std::bit_cast<uint32_t>(second[i]) & kMagnitude);
    remainders[i] = static_cast<int16_t>(bits);
    weights[i] = rounded(bits);
  }
  return largest < kInfinite;
}

FREELUNCH_CLONES bool step_fp32(int64_t n, uint32_t* weights, float* first, float* second,
                                const uint32_t* gradient, const float* size, const AdamStep& adam) {
  const AdamStep a = adam;
  const float root = 1 / std::sqrt(a.correction2);
  uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) {
    const auto g = std::bit_cast<float>(gradient[i]);
    const auto w = std::bit_cast<float>(weights[i]);
    weights[i] = std::bit_cast<uint32_t>(advance(w, g, size[i], first[i], second[i], a, root));
    largest = std::max(largest, std::bit_cast<uint32_t>(second[i]) & kMagnitude);
  }
  return largest < kInfinite;
}

/// A chunk of an array of n values. A last chunk that is short is copied to a padded buffer; flush() copies
/// it back.
template <typename T>
class Chunk {
 public:
  Chunk(T* data, int64_t n, int64_t chunk)
      : data_(data + chunk * RetainedBits::kChunk),
        n_(std::min(RetainedBits::kChunk, n - chunk * RetainedBits::kChunk)) {
    if (n_ < RetainedBits::kChunk) std::copy_n(data_, n_, padded_.begin());
  }
  T* data() { return n_ < RetainedBits::kChunk ? padded_.data() : data_; }
  void flush() {
    if (n_ < RetainedBits::kChunk) std::copy_n(padded_.begin(), n_, data_);
  }

 private:
  T* data_;
  int64_t n_;
  std::array<std::remove_const_t<T>, static_cast<size_t>(RetainedBits::kChunk)> padded_;
};

/// The sizes of the updates of a chunk's weights, before they are gathered.
void chunk_sizes(const UpdateSizes& sizes, int64_t n, int64_t chunk, uint32_t* all) {
  const int64_t begin = chunk * RetainedBits::kChunk;
  const int64_t end = std::min(begin + RetainedBits::kChunk, n);
  int64_t row = begin / sizes.width;
  int64_t column = begin % sizes.width;
  for (int64_t i = begin; i < end; ++i) {
    all[i - begin] = std::bit_cast<uint32_t>(sizes.rows[row] * sizes.columns[column]);
    if (++column < sizes.width) continue;
    column = 0;
    ++row;
  }
}

/// Calls advance(n, at, weights, gradients, sizes) for each chunk with its n retained weights, gathered; `at`
/// is the number of retained weights before the chunk. Returns whether all calls returned true.
template <typename Word, typename Gather, typename Scatter, typename Advance>
bool step_chunks(const RetainedBits& retained, Word* weights, const Word* gradient, const UpdateSizes& sizes,
                 Gather gather, Scatter scatter, const Advance& advance) {
  bool finite = true;
  Buffer ones;
  ones.fill(std::bit_cast<uint32_t>(1.0F));
#pragma omp parallel for schedule(static) reduction(&& : finite)
  for (int64_t c = 0; c < retained.chunks(); ++c) {
    Buffer g;
    Buffer w;
    Chunk<Word> stored(weights, retained.size(), c);
    Chunk<const Word> gradients(gradient, retained.size(), c);
    const int64_t n = gather(retained.words(c), RetainedBits::kChunk, gradients.data(), g.data());
    gather(retained.words(c), RetainedBits::kChunk, stored.data(), w.data());
    Buffer all_sizes;
    Buffer gathered = ones;
    if (sizes.rows != nullptr) {
      chunk_sizes(sizes, retained.size(), c, all_sizes.data());
      compaction().gather_fp32(retained.words(c), RetainedBits::kChunk, all_sizes.data(), gathered.data());
    }
    const bool all =
        advance(n, retained.first(c), w.data(), g.data(), reinterpret_cast<const float*>(gathered.data()));
    scatter(retained.words(c), RetainedBits::kChunk, w.data(), stored.data());
    stored.flush();
    finite = finite && all;
  }
  return finite;
}

/// Calls visit(i, at) for every weight i; `at` is its index among the retained weights, or -1.
template <typename Visit>
void for_each_weight(const RetainedBits& retained, const Visit& visit) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < retained.chunks(); ++c) {
    int64_t at = retained.first(c);
    const int64_t begin = c * RetainedBits::kChunk;
    for (int64_t i = begin; i < std::min(begin + RetainedBits::kChunk, retained.size()); ++i) {
      const bool keep = (retained.words(c)[(i - begin) / 64] >> static_cast<uint64_t>(i % 64) & 1U) != 0;
      visit(i, keep ? at++ : -1);
    }
  }
}

}  // namespace

RetainedBits::RetainedBits(const bool* retained, int64_t n) : n_(n) {
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  words_.assign(static_cast<size_t>(chunks * (kChunk / 64)), 0);
  for (int64_t i = 0; i < n; ++i)
    words_[static_cast<size_t>(i / 64)] |= static_cast<uint64_t>(retained[i])
                                           << static_cast<uint64_t>(i % 64);
  first_.assign(static_cast<size_t>(chunks) + 1, 0);
  for (int64_t c = 0; c < chunks; ++c) {
    int64_t count = 0;
    for (int64_t w = 0; w < kChunk / 64; ++w) count += std::popcount(words(c)[w]);
    first_[static_cast<size_t>(c) + 1] = first(c) + count;
  }
}

bool step(const RetainedBits& retained, const RetainedWeights<Bf16>& state, const Bf16* gradient,
          const AdamStep& adam, const UpdateSizes& sizes) {
  return step_chunks(
      retained, state.weights, gradient, sizes, compaction().gather, compaction().scatter,
      [&](int64_t n, int64_t at, uint32_t* weights, const uint32_t* gradients, const float* update) {
        return step_bf16(n, weights, state.remainders + at, state.first + at, state.second + at, gradients,
                         update, adam);
      });
}

bool step(const RetainedBits& retained, const RetainedWeights<float>& state, const float* gradient,
          const AdamStep& adam, const UpdateSizes& sizes) {
  return step_chunks(
      retained, reinterpret_cast<uint32_t*>(state.weights), reinterpret_cast<const uint32_t*>(gradient),
      sizes, compaction().gather_fp32, compaction().scatter_fp32,
      [&](int64_t n, int64_t at, uint32_t* weights, const uint32_t* gradients, const float* update) {
        return step_fp32(n, weights, state.first + at, state.second + at, gradients, update, adam);
      });
}

void split(const RetainedBits& retained, const float* masters, Bf16* weights, int16_t* remainders) {
  for_each_weight(retained, [&](int64_t i, int64_t at) {
    const auto bits = std::bit_cast<uint32_t>(masters[i]);
    weights[i] = static_cast<Bf16>(at < 0 ? 0 : rounded(bits));
    if (at >= 0) remainders[at] = static_cast<int16_t>(bits);
  });
}

void join(const RetainedBits& retained, const Bf16* weights, const int16_t* remainders, float* masters) {
  for_each_weight(retained, [&](int64_t i, int64_t at) {
    masters[i] = at < 0 ? 0.0F : std::bit_cast<float>(joined(weights[i], remainders[at]));
  });
}

}  // namespace freelunch::kernels
