#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/backend/compute.h"
#include "freelunch/base/sinks.h"
#include "freelunch/evaluate/choice_score.h"
#include "freelunch/evaluate/perplexity.h"
#include "freelunch/model/live_tensors.h"

namespace freelunch::pipeline {

/// How the documents of a text become one token stream.
enum class Join {
  kNone,     ///< documents are tokenised one by one and their tokens joined; a plain file is one document
  kWikitext  ///< text::join_wikitext
};

struct PerplexityPlan {
  std::filesystem::path model;
  std::shared_ptr<const model::LiveTensors> live;  ///< as in CompressPlan
  std::filesystem::path text;
  std::string field = "text";  ///< of a JSON text: holds a document
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
  std::shared_ptr<const model::LiveTensors> live;  ///< as in CompressPlan
  std::vector<evaluate::ChoiceTask> tasks;
  std::optional<int64_t> limit;  ///< examples of each task; all if absent
  backend::ComputeOptions compute;
};

struct ZeroShotResult {
  std::string task;
  int64_t skipped = 0;  ///< items of the file that could not be read or scored
  evaluate::ChoiceScore score;
};

/// Zero-shot accuracy of a model on each task. Throws Error.
std::vector<ZeroShotResult> measure_zero_shot(const ZeroShotPlan& plan, Sinks sinks);

}  // namespace freelunch::pipeline
