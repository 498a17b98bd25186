#include "freelunch/planner/machine_rates.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "freelunch/backend/backend.h"

namespace freelunch::pipeline {
namespace {

/// Seconds of the fastest of a few calls, within a few hundredths of a second.
double seconds_of(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  const auto elapsed = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  work();  // the first call sets things up
  double best = 1e9;
  for (const auto start = Clock::now(); elapsed(start) < 0.03;) {
    const auto call = Clock::now();
    work();
    best = std::min(best, elapsed(call));
  }
  return best;
}

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
