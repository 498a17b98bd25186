#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/backend/compute.h"
#include "freelunch/calibration/windows.h"
#include "freelunch/closed_form/closed_form.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/descent/loss.h"
#include "freelunch/descent/token_loss.h"
#include "freelunch/descent/trainable_block.h"
#include "freelunch/model_io/output_format.h"
#include "freelunch/plan/memory_options.h"
#include "freelunch/plan/stages.h"
#include "freelunch/sparsity/allocation.h"
#include "freelunch/sparsity/pattern.h"

namespace freelunch::pipeline {

/// Which stream a region reads and what its output is compared with (docs/methods/stages.md).
enum class Propagation {
  kDense,       ///< dense stream in, dense region on it as target: regions do not depend on each other
  kSparse,      ///< stream of the pruned and repaired prefix in, dense region on that as target
  kSparseDense  ///< stream of the pruned and repaired prefix in, stream of the dense model as target
};
Propagation parse_propagation(std::string_view text);
std::string_view name(Propagation propagation);

/// What becomes of a region whose loss or gradient is not finite.
enum class OnDivergence {
  kStop,    ///< the run ends there, and can go on from there
  kRestart  ///< the region starts over at half the learning rate, twice at most
};
OnDivergence parse_on_divergence(std::string_view text);

/// From which stream the statistics for masks and the closed form are taken.
enum class StatisticsSource { kSparse, kDense };
StatisticsSource parse_statistics(std::string_view text);
std::string_view name(StatisticsSource source);

struct CalibrationOptions {
  std::filesystem::path text;
  bool one_document_a_line = false;
  calibration::WindowRule rule = calibration::WindowRule::kConsecutive;
  int64_t samples = 128;
  int64_t length = 512;
  int64_t held_out = 8;  ///< further windows, used only to choose and to check
};

struct EvaluationOptions {
  std::filesystem::path text;  ///< empty: no evaluation
  std::optional<int64_t> length;
  std::optional<int64_t> windows = 10;
  bool from_end = false;  ///< the last windows of the text instead of the first
};

struct RegionOptions {
  Propagation propagation = Propagation::kSparseDense;
  reconstruct::Loss loss = reconstruct::Loss::kRelativeMse;
  std::optional<double> learning_rate;         ///< absent: from the model's width
  std::optional<int64_t> epochs;               ///< absent: default_epochs
  int64_t batch = reconstruct::kDefaultBatch;  ///< windows in a step
  bool freeze_norms = false;
};

/// Of the stages model, lora and bias-norm.
struct ModelStageOptions {
  reconstruct::TokenLoss loss = reconstruct::TokenLoss::kKl;
  std::optional<double> learning_rate;  ///< absent: from the model's width and what is trained
  std::optional<int64_t> epochs;        ///< absent: default_epochs
  int64_t batch = reconstruct::kDefaultBatch;
  reconstruct::LoraSettings lora;
};

/// Everything `compress` was asked for.
struct CompressPlan {
  std::filesystem::path model;
  /// Empty: the model is dense and gets its masks from the criterion. Else the model came pruned, its zeros
  /// are the masks, and this is the dense model it is repaired towards.
  std::filesystem::path dense;
  std::filesystem::path output;
  bool overwrite = false;
  OutputOptions saved_as;
  sparsity::Pattern pattern = sparsity::Unstructured{};
  std::optional<sparsity::Group> group;  ///< absent: the criterion's own
  std::vector<sparsity::Rule> rules;     ///< first match wins; the pattern is for what none matches
  sparsity::Allocation allocation = sparsity::Allocation::kUniform;
  std::string criterion = "wanda";
  StatisticsSource statistics = StatisticsSource::kSparse;
  bool sensitivity = false;          ///< solve under the Kronecker-factored Fisher metric
  double sensitivity_damping = 0.1;  ///< of the identity added to it, in units of its mean diagonal
  bool sensitivity_masks = false;    ///< scores times the root of its diagonal, too
  Repair repair{.automatic = true, .stages = {}};
  CalibrationOptions calibration;
  EvaluationOptions evaluation;
  reconstruct::ClosedFormGrid grid;
  RegionOptions region;
  ModelStageOptions model_stage;
  backend::ComputeOptions compute;
  MemoryOptions memory;
  uint64_t seed = 0;
  std::string command;  ///< as typed, for the report
  /// Throw away what an unfinished run left beside the output.
  bool restart = false;
  int64_t commit_seconds = 240;  ///< between two commits inside a region that takes long; 0: each step
  OnDivergence on_divergence = OnDivergence::kStop;
};

/// Refuses what cannot be done, before anything is read. Throws InvalidArgument with a hint.
void validate(const CompressPlan& plan);

}  // namespace freelunch::pipeline
