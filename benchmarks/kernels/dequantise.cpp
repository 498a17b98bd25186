// Conversion of stored weights to fp32, for every dtype.
#include "freelunch/checkpoint/dequantise.h"

#include <cstddef>
#include <vector>

#include "freelunch/base/random.h"
#include "kernels/registration.h"
#include "kernels/table.h"

namespace freelunch::benchmarks {
namespace {

using checkpoint::DType;

void dequantise(benchmark::State& state, DType dtype) {
  constexpr int64_t kElements = 1 << 22;
  RandomStream random(0, "dequantise");
  std::vector<std::byte> stored(static_cast<size_t>(checkpoint::bytes_for(dtype, kElements).value()));
  for (std::byte& b : stored) b = static_cast<std::byte>(random.next() & 0xFFU);
  std::vector<float> out(kElements);
  set_amount(state, static_cast<double>(kElements) / 1e6, "million weights");
  for (auto _ : state) {
    checkpoint::dequantise(dtype, stored, out);
    benchmark::DoNotOptimize(out.data());
  }
}

}  // namespace

void register_dequantise() {
  for (const DType dtype :
       {DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1, DType::kQ8_0,
        DType::kQ2_K, DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_NL}) {
    add(fmt::format("dequantise/{}", checkpoint::name(dtype)),
        [dtype](benchmark::State& state) { dequantise(state, dtype); });
  }
}

}  // namespace freelunch::benchmarks
