#pragma once
#include <ATen/core/TensorBody.h>
#include <benchmark/benchmark.h>

#include <string>

namespace freelunch::benchmarks {

/// Notes what one iteration computes and, measured now, how fast plain matrix products are. Called before a
/// benchmark's loop. flop: of the mathematics, multiplications and additions; recomputation does not count.
void set_work(benchmark::State& state, double flop, at::ScalarType dtype);
/// For kernels that no count of operations describes: how many of `unit` ("MB", "tokens") an iteration
/// handles.
void set_amount(benchmark::State& state, double amount, const std::string& unit);

/// Prints each family of benchmarks (what stands before the first '/') as a Markdown table.
class TableReporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;

 private:
  void print_row(const Run& run);

  std::string family_;
};

}  // namespace freelunch::benchmarks
