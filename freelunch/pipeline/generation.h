#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "freelunch/backend/compute.h"
#include "freelunch/base/sinks.h"
#include "freelunch/evaluate/generation.h"

namespace freelunch::pipeline {

struct GenerationPlan {
  std::filesystem::path model;
  std::string prompt;
  int64_t tokens = 64;    ///< at most
  bool past_end = false;  ///< continue after the tokens that end a text
  backend::ComputeOptions compute;
};

struct Generation {
  std::vector<int64_t> prompt;  ///< token ids, with those that the tokenizer adds in front
  std::vector<int64_t> tokens;  ///< generated token ids
  std::string text;             ///< of the generated tokens
  evaluate::Ending ending = evaluate::Ending::kTokens;
};

/// Continues a prompt greedily, up to one of the model's end tokens. Warns if the model's positions ended the
/// text. Throws Error.
Generation generate_text(const GenerationPlan& plan, Sinks sinks);

}  // namespace freelunch::pipeline
