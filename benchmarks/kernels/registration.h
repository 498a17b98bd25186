#pragma once
#include <benchmark/benchmark.h>

#include <filesystem>
#include <functional>
#include <string>

#include "freelunch/base/error.h"

namespace freelunch::benchmarks {

/// What the tokenizer's benchmark reads; the user's own, since none comes with the project.
struct TokeniserInput {
  std::filesystem::path model;  ///< a folder or GGUF file; empty: the benchmark is skipped
  std::filesystem::path text;
};

/// Each family registers its cases.
void register_halves();
void register_statistics();
void register_closed_form();
void register_pruning();
void register_dequantise();
void register_tokenise(const TokeniserInput& input);

/// Wall-clock time, at least 0.3 s of it.
inline void add(const std::string& name, std::function<void(benchmark::State&)> run) {
  benchmark::RegisterBenchmark(name.c_str(), std::move(run))
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(0.3);
}

}  // namespace freelunch::benchmarks
