#include "examples.h"

#include <array>
#include <utility>

namespace freelunch::tools {

std::string examples_of(std::string_view command) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 19> kExamples{{
      {"compress", "MODEL --output DIR --sparsity 0.5 --calibration text.jsonl --evaluate wiki.txt"},
      {"compress",
       "MODEL --output DIR --pattern 2:4 --criterion sparsegpt --repair solve,sublayer --calibration "
       "text.jsonl"},
      {"compress", "MODEL --output DIR --criterion magnitude --repair none --rule dense=model.layers.0.*"},
      {"reconstruct", "PRUNED --dense MODEL --output DIR --calibration text.jsonl"},
      {"plan", "MODEL --pattern 2:4 --repair solve,sublayer --calibration text.jsonl --memory-limit 2GiB"},
      {"perplexity", "MODEL --text wiki.txt --length 64 --windows 10"},
      {"perplexity", "model.gguf --text wiki.txt --protocol llama.cpp --json"},
      {"zeroshot", "MODEL --tasks boolq.jsonl hellaswag.jsonl --limit 100"},
      {"study", "study.toml --output DIR --list"},
      {"study", "study.toml --output DIR"},
      {"inspect", "MODEL"},
      {"inspect", "model.gguf --json"},
      {"convert", "model.gguf --output DIR"},
      {"convert", "MODEL --output small.gguf --dtype q8_0"},
      {"convert", "PRUNED --output DIR --format bitmask --shard-size 2GB"},
      {"generate", "MODEL --prompt 'The capital of France is' --tokens 20"},
      {"completions", "bash"},
      {"completions", "zsh"},
      {"man", ""},
  }};
  std::string lines;
  for (const auto& [name, arguments] : kExamples) {
    if (name == command)
      lines +=
          "  freelunch " + std::string(name) + (arguments.empty() ? "" : " ") + std::string(arguments) + "\n";
  }
  return lines;
}

}  // namespace freelunch::tools
