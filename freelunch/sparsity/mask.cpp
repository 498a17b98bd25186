#include "freelunch/sparsity/mask.h"

#include <ATen/ATen.h>

#include <cmath>
#include <tuple>

#include "freelunch/base/error.h"

namespace freelunch::sparsity {
namespace {

at::Tensor keep_n_of_m(const at::Tensor& scores, const NofM& pattern) {
  const at::Tensor groups = scores.reshape({-1, pattern.of});
  // rank: how many weights of the group are removed before this one. `of` comparisons are faster than
  // sorting.
  at::Tensor rank = at::zeros(groups.sizes(), groups.options().dtype(at::kChar));
  const at::Tensor index = at::arange(pattern.of, groups.options().dtype(at::kLong));
  for (int64_t j = 0; j < pattern.of; ++j) {
    const at::Tensor other = groups.narrow(1, j, 1);
    rank += other.lt(groups).logical_or(other.eq(groups).logical_and(index.gt(j)));
  }
  return rank.ge(pattern.of - pattern.keep).view(scores.sizes());
}

bool obeys(const at::Tensor& nonzero, const NofM& pattern) {
  if (nonzero.size(1) % pattern.of != 0) return false;
  return nonzero.reshape({-1, pattern.of}).sum(1).max().item<int64_t>() <= pattern.keep;
}

}  // namespace

at::Tensor keep_largest(const at::Tensor& scores, int64_t remove) {
  if (remove == 0) return at::ones_like(scores, at::kBool);
  const at::Tensor threshold = std::get<0>(at::kthvalue(scores, remove, 1, /*keepdim=*/true));
  const at::Tensor below = scores.lt(threshold);
  const at::Tensor tied = scores.eq(threshold);
  const at::Tensor missing = remove - below.sum(1, true);  // number of tied weights to remove, per group
  if (at::equal(tied.sum(1, true), missing)) return scores.gt(threshold);
  const at::Tensor removed = below.logical_or(tied.logical_and(tied.cumsum(1).le(missing)));
  return removed.logical_not();
}

int64_t removed_of(double fraction, int64_t size) {
  // 0.7 * 10 is 6.999... in binary: without the small addition it would give 6
  return static_cast<int64_t>(std::floor(fraction * static_cast<double>(size) + 1e-9));
}

Mask select_largest(const at::Tensor& scores, const Pattern& pattern, Group group) {
  if (scores.dim() != 2)
    fail(ErrorKind::kInvalidArgument, "scores have {} dimensions, expected 2", scores.dim());
  check_width(pattern, scores.size(1), "scores");
  if (scores.isnan().any().item<bool>()) fail(ErrorKind::kNumerical, "a pruning score is NaN");
  if (const auto* n = std::get_if<NofM>(&pattern)) return {keep_n_of_m(scores, *n)};
  const double fraction = std::get<Unstructured>(pattern).zero_fraction;
  const at::Tensor groups = group == Group::kRow ? scores : scores.reshape({1, -1});
  return {keep_largest(groups, removed_of(fraction, groups.size(1))).view(scores.sizes())};
}

int64_t expected_zeros(int64_t rows, int64_t columns, const Pattern& pattern, Group group) {
  if (const auto* n = std::get_if<NofM>(&pattern)) return rows * columns / n->of * (n->of - n->keep);
  const double fraction = std::get<Unstructured>(pattern).zero_fraction;
  return group == Group::kRow ? rows * removed_of(fraction, columns) : removed_of(fraction, rows * columns);
}

void check_respected(const at::Tensor& W, const Mask& mask, const std::string& tensor) {
  const int64_t wrong = W.ne(0).logical_and(mask.retained.logical_not()).sum().item<int64_t>();
  if (wrong != 0)
    fail(ErrorKind::kNumerical, "tensor '{}' has {} non-zero weights where its mask has zeros", tensor,
         wrong);
}

// the sparsest first, so that 1:4 is not reported as 2:4
Observer::Observer() : obeyed_{{1, 4}, {2, 8}, {1, 2}, {2, 4}, {4, 8}} {}

void Observer::add(const at::Tensor& W) {
  const at::Tensor nonzero = W.ne(0);
  const int64_t zeros = W.numel() - nonzero.sum().item<int64_t>();
  zeros_ += zeros;
  elements_ += W.numel();
  // at least half of a matrix that obeys a pattern is zero, so most matrices need no closer look
  const bool none = W.dim() != 2 || zeros == 0 || zeros * 2 < W.numel();
  std::erase_if(obeyed_, [&](const NofM& pattern) { return none || !obeys(nonzero, pattern); });
}

Observed Observer::result() const {
  Observed result{.zeros = zeros_, .elements = elements_, .pattern = std::nullopt};
  if (elements_ > 0 && !obeyed_.empty()) result.pattern = obeyed_.front();
  return result;
}

Observed observe(const at::Tensor& W) {
  Observer observer;
  observer.add(W);
  return observer.result();
}

}  // namespace freelunch::sparsity
