#include "kernels/table.h"

#include <ATen/Parallel.h>
#include <fmt/core.h>

#include "kernels/matrix_rate.h"

namespace freelunch::benchmarks {
namespace {

constexpr const char* kAmount = "amount in ";  // followed by the unit in a counter's name

}  // namespace

void set_work(benchmark::State& state, double flop, at::ScalarType dtype) {
  state.counters["flop"] = flop;
  state.counters["matrix_rate"] = matrix_product_rate(dtype);
}

void set_amount(benchmark::State& state, double amount, const std::string& unit) {
  state.counters[kAmount + unit] = amount;
}

bool TableReporter::ReportContext(const Context& context) {
  fmt::print("{} cores, {} threads; share: of a bf16 or fp32 matrix product measured just before\n",
             context.cpu_info.num_cpus, at::get_num_threads());
  return true;
}

void TableReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) print_row(run);
  std::fflush(stdout);
}

void TableReporter::print_row(const Run& run) {
  const std::string name = run.run_name.function_name;
  const size_t slash = name.find('/');
  const std::string family = name.substr(0, slash);
  if (family != family_) {
    fmt::print("\n### {}\n| case | ms | GFLOP | GFLOP/s | matrix product, GFLOP/s | share | a second |\n",
               family);
    fmt::print("|---|---|---|---|---|---|---|\n");
    family_ = family;
  }
  std::string label = slash == std::string::npos ? "" : name.substr(slash + 1);
  if (run.error_occurred) {
    fmt::print("| {} | {} | | | | | |\n", label, run.error_message);
    return;
  }
  const double seconds = run.real_accumulated_time / static_cast<double>(run.iterations);
  std::string work = "| | | | ", amount;
  for (const auto& [key, counter] : run.counters) {
    if (key == "flop") {
      const double rate = counter.value / seconds;
      const double peak = run.counters.at("matrix_rate").value;
      work = fmt::format("| {:.3f} | {:.1f} | {:.0f} | {:.0f} % ", counter.value / 1e9, rate / 1e9,
                         peak / 1e9, 100 * rate / peak);
    } else if (key.starts_with(kAmount)) {
      amount = fmt::format("{:.4g} {}", counter.value / seconds, key.substr(std::string(kAmount).size()));
    }
  }
  fmt::print("| {} | {:.3f} {}| {} |\n", label, 1e3 * seconds, work, amount);
}

}  // namespace freelunch::benchmarks
