// Sublayers of a block: the forward pass, and the forward and backward pass of a training step without the
// optimiser.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "freelunch/descent/loss.h"
#include "freelunch/descent/region.h"
#include "freelunch/model/forward.h"
#include "kernels/model_shapes.h"
#include "kernels/registration.h"
#include "kernels/table.h"

namespace freelunch::benchmarks {
namespace {

using model::Config;
using model::Sublayer;

struct Case {
  Config config;
  Sublayer sublayer;
  int64_t length;
  at::ScalarType dtype;
};

void forward_only(benchmark::State& state, const Case& c) {
  const at::NoGradGuard no_grad;
  const model::Forward forward(c.config, {.device = at::kCPU, .dtype = c.dtype}, c.length);
  const model::Block block = random_half(c.config, c.sublayer, c.dtype);
  const at::Tensor x = at::randn({1, c.length, c.config.width});
  set_work(state, forward_flop(c.config, c.sublayer, c.length), c.dtype);
  for (auto _ : state) benchmark::DoNotOptimize(forward.forward_sublayer(block, c.sublayer, x));
}

void forward_and_backward(benchmark::State& state, const Case& c) {
  const model::Forward forward(c.config, {.device = at::kCPU, .dtype = c.dtype}, c.length);
  model::Block block = random_half(c.config, c.sublayer, at::kFloat);
  const reconstruct::BlockMasks masks;
  reconstruct::StreamRegion region(forward, {{.block = &block, .masks = &masks, .sublayer = c.sublayer}});
  const at::Tensor x = at::randn({1, c.length, c.config.width});
  const at::Tensor target = at::randn_like(x);
  auto trained = region.trained(/*freeze_norms=*/false);
  for (auto& t : trained) *t.place = t.place->to(t.dtype).requires_grad_(true);  // as descent does
  // every GEMM of the forward pass has two in the backward pass, one for each factor
  set_work(state, 3 * forward_flop(c.config, c.sublayer, c.length), c.dtype);
  for (auto _ : state) {
    reconstruct::evaluate(reconstruct::Loss::kRelativeMse, region.forward(x), target, {}).backward();
    for (auto& t : trained) t.place->mutable_grad() = at::Tensor();
  }
}

}  // namespace

void register_sublayers() {
  for (const bool backward : {false, true}) {
    for (const Sublayer sublayer : model::kSublayers) {
      for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
        for (const Config& config : model_shapes()) {
          for (const int64_t length : {512, 2048}) {
            const Case c{.config = config, .sublayer = sublayer, .length = length, .dtype = dtype};
            const std::string name =
                fmt::format("{} sublayer, {}/width {}, length {}, {}", model::name(sublayer),
                            backward ? "forward and backward" : "forward", config.width, length,
                            dtype == at::kFloat ? "fp32" : "bf16");
            add(name, [c, backward](benchmark::State& state) {
              backward ? forward_and_backward(state, c) : forward_only(state, c);
            });
          }
        }
      }
    }
  }
}

}  // namespace freelunch::benchmarks
