// kernel_benchmarks [--model MODEL --text FILE] [--benchmark_filter=REGEX ...]
// kernel_benchmarks --rates    prints only the rates of plain GEMMs, as JSON, in operations per second
#include <ATen/ATen.h>
#include <fmt/core.h>

#include <string>
#include <string_view>
#include <vector>

#include "freelunch/memory/tensor_memory.h"
#include "kernels/matrix_rate.h"
#include "kernels/registration.h"
#include "kernels/table.h"

int main(int argc, char** argv) {
  using namespace freelunch;
  pipeline::reuse_tensor_memory();  // as the command does
  benchmarks::TokeniserInput input;
  std::vector<char*> rest{argv[0]};
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--model" && i + 1 < argc) {
      input.model = argv[++i];
    } else if (argument == "--text" && i + 1 < argc) {
      input.text = argv[++i];
    } else if (argument == "--rates") {
      fmt::print("{{\"bf16\": {:.6g}, \"fp32\": {:.6g}}}\n", benchmarks::matrix_product_rate(at::kBFloat16),
                 benchmarks::matrix_product_rate(at::kFloat));
      return 0;
    } else {
      rest.push_back(argv[i]);
    }
  }
  int count = static_cast<int>(rest.size());
  benchmark::Initialize(&count, rest.data());
  if (benchmark::ReportUnrecognizedArguments(count, rest.data())) return 2;
  try {
    benchmarks::register_sublayers();
    benchmarks::register_statistics();
    benchmarks::register_closed_form();
    benchmarks::register_pruning();
    benchmarks::register_dequantise();
    benchmarks::register_tokenise(input);
    benchmarks::TableReporter table;
    benchmark::RunSpecifiedBenchmarks(&table);
  } catch (const Error& error) {
    fmt::print(stderr, "kernel_benchmarks: {}\n", error.what());
    return 1;
  }
  return 0;
}
