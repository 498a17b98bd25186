#pragma once
#include <ATen/core/TensorBody.h>
#include <benchmark/benchmark.h>

#include <string>

namespace freelunch::benchmarks {

/// Records the work of one iteration, and the rate of a plain GEMM, measured now. Called before a benchmark's
/// loop. flop: the multiplications and additions of the formula; recomputation does not count.
void set_work(benchmark::State& state, double flop, at::ScalarType dtype);
/// For kernels without a count of operations: how many of `unit` ("MB", "tokens") one iteration handles.
void set_amount(benchmark::State& state, double amount, const std::string& unit);

/// Prints each family of benchmarks (the part of the name before the first '/') as a Markdown table.
class TableReporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

 private:
  void print_row(const Run& run);

  std::string family_;
};

}  // namespace freelunch::benchmarks
