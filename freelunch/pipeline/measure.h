#pragma once
#include <filesystem>
#include <optional>

#include "freelunch/base/sinks.h"
#include "freelunch/evaluate/choice_score.h"
#include "freelunch/evaluate/generation.h"
#include "freelunch/evaluate/perplexity.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {

enum class Join {
  kNone,     ///< documents tokenised one by one, tokens joined; a plain file is one document
  kWikitext  ///< calibration::join_wikitext
};

struct PerplexityPlan {
  std::filesystem::path model;
  std::filesystem::path text;
  Join join = Join::kNone;
  evaluate::Protocol protocol = evaluate::Protocol::kPapers;
  std::optional<int64_t> length;  ///< absent: min(model's maximum, 2048), or 512 under llama.cpp's protocol
  std::optional<int64_t> windows;
  bool from_end = false;
  backend::ComputeOptions compute;
};

/// Perplexity of a model on a text. Throws Error.
evaluate::Perplexity measure_perplexity(const PerplexityPlan& plan, Sinks sinks);

struct ZeroShotPlan {
  std::filesystem::path model;
  std::vector<evaluate::ChoiceTask> tasks;
  std::optional<int64_t> limit;  ///< examples of each task; all if absent
  backend::ComputeOptions compute;
};

struct ZeroShotResult {
  std::string task;
  evaluate::ChoiceScore score;
};

/// Zero-shot accuracy of a model on each task. Throws Error.
std::vector<ZeroShotResult> measure_zero_shot(const ZeroShotPlan& plan, Sinks sinks);

struct GenerationPlan {
  std::filesystem::path model;
  std::string prompt;
  int64_t tokens = 64;
  bool past_end = false;  ///< goes on after EOS
  backend::ComputeOptions compute;
};

struct Generation {
  std::vector<int64_t> prompt;  ///< ids, with what the tokenizer puts in front
  std::vector<int64_t> tokens;  ///< ids that were added
  std::string text;             ///< what they say
};

/// Continues a prompt greedily. Throws Error.
Generation generate_text(const GenerationPlan& plan, Sinks sinks);

}  // namespace freelunch::pipeline
