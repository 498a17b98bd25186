#include "freelunch/planner/machine_rates.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>

#include "freelunch/backend/backend.h"
#include "freelunch/base/stopwatch.h"

namespace freelunch::pipeline {
namespace {

/// Seconds of the fastest of the calls made in 0.03 seconds. The first call, which sets things up, does not
/// count.
double seconds_of(const std::function<void()>& work) {
  work();
  double best = 1e9;
  for (const Stopwatch all; all.seconds() < 0.03;) {
    const Stopwatch call;
    work();
    best = std::min(best, call.seconds());
  }
  return best;
}

/// Operations a second of (512, width) by (width, outputs).
double product_rate(int64_t width, int64_t outputs, const backend::Compute& compute) {
  constexpr int64_t kTokens = 512;
  const auto options = at::TensorOptions().dtype(compute.dtype).device(compute.device);
  const at::Tensor x = at::ones({kTokens, width}, options);
  const at::Tensor W = at::ones({outputs, width}, options);
  const double seconds = seconds_of([&] {
    const at::Tensor y = at::linear(x, W);
    backend::of(y).synchronize();
  });
  return 2.0 * kTokens * static_cast<double>(width * outputs) / seconds;
}

}  // namespace

MachineRates measure_rates(const model::Config& config, const backend::Compute& compute) {
  const at::NoGradGuard no_grad;
  const int64_t width = std::min<int64_t>(config.width, 2048);
  const int64_t outputs = std::min<int64_t>(config.intermediate, 4096);
  at::Tensor swept = at::zeros({int64_t{4} << 20}, at::TensorOptions().device(compute.device));
  const double sweep = seconds_of([&] {
    swept.add_(1);
    backend::of(swept).synchronize();
  });
  return {.products = product_rate(width, outputs, compute),
          .fp32_products = product_rate(width, outputs, {.device = compute.device, .dtype = at::kFloat}),
          .bytes = 2.0 * static_cast<double>(swept.nbytes()) / sweep};
}

}  // namespace freelunch::pipeline
