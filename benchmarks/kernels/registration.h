#pragma once
#include <benchmark/benchmark.h>

#include <filesystem>
#include <functional>
#include <string>

#include "freelunch/base/error.h"

namespace freelunch::benchmarks {

/// The input of the tokenizer's benchmark. The user names it: the project contains no model.
struct TokeniserInput {
  std::filesystem::path model;  ///< a folder or GGUF file; empty: the benchmark is skipped
  std::filesystem::path text;
};

/// Each family of benchmarks registers its cases.
void register_sublayers();
void register_statistics();
void register_closed_form();
void register_pruning();
void register_dequantise();
void register_tokenise(const TokeniserInput& input);

/// Registers a benchmark that measures wall-clock time for at least 0.3 s.
inline void add(const std::string& name, std::function<void(benchmark::State&)> run) {
  benchmark::RegisterBenchmark(name.c_str(), std::move(run))
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(0.3);
}

}  // namespace freelunch::benchmarks
