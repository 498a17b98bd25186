#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibration/windows.h"
#include "criteria/criterion.h"
#include "model/weights.h"
#include "pipeline/memory_options.h"
#include "pipeline/output_format.h"
#include "reconstruct/closed_form.h"
#include "reconstruct/loss.h"
#include "reconstruct/token_loss.h"
#include "reconstruct/trainable_block.h"
#include "sparsity/allocation.h"
#include "sparsity/pattern.h"

namespace freelunch::pipeline {

/// The steps of a repair. Each starts from the weights that the one before left.
enum class StageKind {
  kSolve,    ///< each matrix in closed form, while its mask is chosen
  kMatrix,   ///< gradient descent on each matrix
  kHalf,     ///< on attention and MLP halves
  kBlocks,   ///< on K consecutive blocks
  kModel,    ///< on all kept weights and norms
  kLora,     ///< on masked low-rank adapters of the whole model, merged at the end
  kBiasNorm  ///< on biases and norms alone
};
struct Stage {
  StageKind kind = StageKind::kSolve;
  int64_t blocks = 1;  ///< kBlocks: how many a region
  bool operator==(const Stage&) const = default;
};
/// "solve", "blocks:3", "block" for one: what parse_repair reads.
std::string to_string(const Stage& stage);
/// Whether a stage trains one region after the other by gradient descent.
bool is_local(const Stage& stage);
/// Whether a stage trains through the whole model: model, lora, bias-norm.
bool is_global(const Stage& stage);

/// "solve,half" -> the stages; "none" -> no stage; "auto" -> nothing, decided by the planner. Throws
/// InvalidArgument for unknown names, repeated stages, or solve anywhere but first (it chooses the masks).
struct Repair {
  bool automatic = false;
  std::vector<Stage> stages;
};
Repair parse_repair(const std::string& text);

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

/// Where computing happens, as the user says it.
struct ComputeOptions {
  std::string device = "auto";   ///< auto, cpu, cuda, cuda:i
  std::string compute = "auto";  ///< auto, fp32, bf16
  int64_t threads = 0;           ///< 0: as many as the machine has
};
/// Resolves `auto`: a CUDA device if there is one; bf16 where the device has it in hardware, else fp32. Sets
/// the number of threads. Throws InvalidArgument for names that are not known or devices that are not there.
model::Compute resolve(const ComputeOptions& options);

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
  std::optional<double> learning_rate;  ///< absent: from the model's width
  std::optional<int64_t> epochs;        ///< absent: default_epochs
  int64_t batch = 1;  ///< many small steps beat few large ones at equal tokens (docs/decisions/0007)
  bool freeze_norms = false;
};

/// Of the stages model, lora and bias-norm.
struct ModelStageOptions {
  reconstruct::TokenLoss loss = reconstruct::TokenLoss::kKl;
  std::optional<double> learning_rate;  ///< absent: from the model's width and what is trained
  std::optional<int64_t> epochs;        ///< absent: default_epochs
  int64_t batch = 1;
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
  ModelStageOptions whole;
  ComputeOptions compute;
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

/// Peak learning rates that follow from the width of the residual stream and from how many halves a region
/// has (docs/methods/learning_rate.md).
double default_rate(const Stage& stage, int64_t width);
/// The peak learning rate of a stage that trains: the plan's, or the default.
double learning_rate(const CompressPlan& plan, const Stage& stage, int64_t width);

/// Epochs of the stages that train: 1 where both regions and the whole model are trained, else 2
/// (docs/decisions/0013).
int64_t default_epochs(const std::vector<Stage>& stages);

}  // namespace freelunch::pipeline
