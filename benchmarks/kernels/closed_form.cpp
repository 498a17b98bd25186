// The closed form's conjugate gradients on one square matrix, half of it pruned.
#include "freelunch/closed_form/closed_form.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "freelunch/sparsity/mask.h"
#include "kernels/registration.h"
#include "kernels/table.h"

namespace freelunch::benchmarks {
namespace {

void conjugate_gradients(benchmark::State& state, int64_t width) {
  const at::NoGradGuard no_grad;
  // correlated inputs of uneven size, as hidden states are
  const at::Tensor X = (at::randn({2 * width, width}) + at::randn({2 * width, 1})) * at::rand({width}).exp();
  const at::Tensor H = at::mm(X.t(), X);
  const at::Tensor W = at::randn({width, width});
  const sparsity::Mask mask =
      sparsity::select_largest(W.abs(), sparsity::Unstructured{.zero_fraction = 0.5}, sparsity::Group::kRow);
  const reconstruct::ClosedFormSettings settings;
  const auto n = static_cast<double>(width);
  set_work(state, 2 * n * n * n * static_cast<double>(settings.iterations + 1), at::kFloat);
  for (auto _ : state) {
    const reconstruct::Moments moments(H);  // in the loop: splitting H is part of the work
    benchmark::DoNotOptimize(reconstruct::solve(W, mask, moments, settings));
  }
}

}  // namespace

void register_closed_form() {
  for (const int64_t width : {576, 896, 2048}) {
    add(fmt::format("closed form/{} x {}, at most {} steps, share of fp32", width, width,
                    reconstruct::ClosedFormSettings{}.iterations),
        [width](benchmark::State& state) { conjugate_gradients(state, width); });
  }
}

}  // namespace freelunch::benchmarks
