// Choosing masks; SparseGPT's factorisation and sweep.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "freelunch/criteria/criterion.h"
#include "freelunch/criteria/inverse_factor.h"
#include "freelunch/sparsity/mask.h"
#include "kernels/registration.h"
#include "kernels/table.h"

namespace freelunch::benchmarks {
namespace {

using sparsity::Group;
using sparsity::Pattern;

void select(benchmark::State& state, int64_t width, const Pattern& pattern, Group group) {
  const at::NoGradGuard no_grad;
  const at::Tensor scores = at::rand({width, width});
  set_amount(state, static_cast<double>(scores.numel()) / 1e6, "million weights");
  for (auto _ : state) benchmark::DoNotOptimize(sparsity::select_largest(scores, pattern, group));
}

at::Tensor gram_of(int64_t width) {
  const at::Tensor X = (at::randn({2 * width, width}) + at::randn({2 * width, 1})) * at::rand({width}).exp();
  return at::mm(X.t(), X).to(at::kDouble);
}

void factorise(benchmark::State& state, int64_t width) {
  const at::NoGradGuard no_grad;
  const at::Tensor H = gram_of(width);
  const auto n = static_cast<double>(width);
  // two Cholesky factors, n^3 / 3 each, and an inverse from one, 2 n^3 / 3
  set_work(state, 4 * n * n * n / 3, at::kDouble);
  for (auto _ : state) benchmark::DoNotOptimize(criteria::inverse_factor(H));
}

void sweep(benchmark::State& state, int64_t width, const Pattern& pattern) {
  const at::NoGradGuard no_grad;
  const at::Tensor H = gram_of(width);
  const criteria::CalibrationStats stats{.column_norms = H.diagonal().sqrt().to(at::kFloat),
                                         .inverse_factor = criteria::inverse_factor(H).U};
  const at::Tensor W = at::randn({width, width});
  const auto n = static_cast<double>(width);
  // the error of each column changes all columns to its right
  set_work(state, n * n * n, at::kFloat);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        criteria::prune(criteria::sparsegpt(), W, stats, pattern, criteria::sparsegpt().group));
  }
}

}  // namespace

void register_pruning() {
  const Pattern half = sparsity::Unstructured{.zero_fraction = 0.5};
  const Pattern two_of_four = sparsity::NofM{.keep = 2, .of = 4};
  for (const int64_t width : {576, 2048, 4096}) {
    const std::string shape = fmt::format("mask selection/{} x {}", width, width);
    add(shape + ", 50 % of a row", [=](benchmark::State& state) { select(state, width, half, Group::kRow); });
    add(shape + ", 50 % of the matrix",
        [=](benchmark::State& state) { select(state, width, half, Group::kMatrix); });
    add(shape + ", 2:4", [=](benchmark::State& state) { select(state, width, two_of_four, Group::kRow); });
  }
  for (const int64_t width : {576, 896, 2048}) {
    add(fmt::format("SparseGPT, factor of the inverse/{} x {}, share of fp64", width, width),
        [width](benchmark::State& state) { factorise(state, width); });
  }
  for (const int64_t width : {576, 896, 2048}) {
    const std::string shape = fmt::format("SparseGPT, sweep/{} x {}", width, width);
    add(shape + ", 50 %, share of fp32", [=](benchmark::State& state) { sweep(state, width, half); });
    add(shape + ", 2:4, share of fp32", [=](benchmark::State& state) { sweep(state, width, two_of_four); });
  }
}

}  // namespace freelunch::benchmarks
