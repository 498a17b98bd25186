// Column norms and Gram matrices from calibration inputs.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "freelunch/statistics/gram.h"
#include "kernels/registration.h"
#include "kernels/table.h"

namespace freelunch::benchmarks {
namespace {

constexpr int64_t kTokens = 2048;

void gram(benchmark::State& state, int64_t width) {
  const at::NoGradGuard no_grad;
  const at::Tensor X = at::randn({kTokens, width}).to(at::kBFloat16);
  statistics::Gram gram(width, at::kCPU);
  // the product is symmetric, so half of it is enough
  set_work(state, static_cast<double>(kTokens) * static_cast<double>(width * (width + 1)), at::kFloat);
  for (auto _ : state) gram.add(X);
}

void column_norms(benchmark::State& state, int64_t width) {
  const at::NoGradGuard no_grad;
  const at::Tensor X = at::randn({kTokens, width}).to(at::kBFloat16);
  statistics::ColumnNorms norms(width, at::kCPU);
  set_amount(state, static_cast<double>(X.nbytes()) / 1e6, "MB");
  for (auto _ : state) norms.add(X);
}

}  // namespace

void register_statistics() {
  for (const int64_t width : {576, 896, 1536, 2048, 4096}) {
    add(fmt::format("Gram matrix/{} tokens, width {}, share of fp32", kTokens, width),
        [width](benchmark::State& state) { gram(state, width); });
  }
  for (const int64_t width : {576, 896, 1536, 2048, 4096}) {
    add(fmt::format("column norms/{} tokens, width {}", kTokens, width),
        [width](benchmark::State& state) { column_norms(state, width); });
  }
}

}  // namespace freelunch::benchmarks
