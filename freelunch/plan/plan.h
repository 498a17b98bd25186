#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/architecture/shape.h"
#include "freelunch/backend/compute.h"
#include "freelunch/calibration/windows.h"
#include "freelunch/closed_form/closed_form.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/descent/loss.h"
#include "freelunch/descent/token_loss.h"
#include "freelunch/descent/trainable_block.h"
#include "freelunch/model/live_tensors.h"
#include "freelunch/model_io/output_format.h"
#include "freelunch/plan/memory_options.h"
#include "freelunch/plan/stages.h"
#include "freelunch/sparsity/allocation.h"
#include "freelunch/sparsity/pattern.h"
#include "freelunch/structure/block_criterion.h"
#include "freelunch/structure/expert_criterion.h"

namespace freelunch::pipeline {

/// The input of a region and the target of its output (docs/methods/stages.md). The sparse stream is the
/// residual stream of the pruned and repaired model, the dense stream that of the dense model.
enum class Propagation {
  kDense,       ///< input: dense stream; target: the dense region on the same input. Regions are independent
  kSparse,      ///< input: sparse stream; target: the dense region on the same input
  kSparseDense  ///< input: sparse stream; target: dense stream
};
inline constexpr EnumNames<Propagation, 3> kPropagationNames{{{Propagation::kDense, "dense"},
                                                              {Propagation::kSparse, "sparse"},
                                                              {Propagation::kSparseDense, "sparse-dense"}}};

/// What happens if the loss or a gradient of a region is not finite.
enum class OnDivergence {
  kStop,    ///< the run ends with an error; it can be resumed
  kRestart  ///< the region restarts at half the learning rate, at most twice
};
inline constexpr EnumNames<OnDivergence, 2> kOnDivergenceNames{
    {{OnDivergence::kStop, "stop"}, {OnDivergence::kRestart, "restart"}}};

/// The stream in which the statistics for masks and the closed form are measured.
enum class StatisticsSource { kSparse, kDense };
inline constexpr EnumNames<StatisticsSource, 2> kStatisticsNames{
    {{StatisticsSource::kSparse, "sparse"}, {StatisticsSource::kDense, "dense"}}};

struct CalibrationOptions {
  std::filesystem::path text;
  bool one_document_a_line = false;
  std::string field = "text";  ///< of JSON texts: holds a document
  calibration::WindowRule rule = calibration::WindowRule::kConsecutive;
  calibration::WindowStart bos = calibration::WindowStart::kTokenizer;
  int64_t samples = 128;
  int64_t length = 512;
  int64_t held_out = 8;  ///< number of further windows, used only to choose and to check
};

struct EvaluationOptions {
  std::filesystem::path text;           ///< empty: no evaluation
  std::optional<std::string> field;     ///< of JSON texts: holds a document; absent: that of the calibration
  std::optional<int64_t> length;        ///< tokens; absent: the model's maximum, at most 2048
  std::optional<int64_t> windows = 10;  ///< absent: all
  bool from_end = false;                ///< the last windows of the text instead of the first
};

struct RegionOptions {
  Propagation propagation = Propagation::kSparseDense;
  reconstruct::Loss loss = reconstruct::Loss::kReaderMse;
  std::optional<double> learning_rate;             ///< absent: the stage's default, relative
  std::optional<reconstruct::RateUnit> rate_unit;  ///< of learning_rate; absent: absolute
  std::optional<int64_t> epochs;                   ///< absent: default_epochs
  int64_t batch = reconstruct::kDefaultBatch;      ///< windows in a step
  bool freeze_norms = false;
};

/// Settings of the stages model, lora and bias-norm.
struct ModelStageOptions {
  reconstruct::TokenLoss loss = reconstruct::TokenLoss::kKl;
  std::optional<double> learning_rate;             ///< absent: the stage's default, relative
  std::optional<reconstruct::RateUnit> rate_unit;  ///< of learning_rate; absent: absolute
  std::optional<int64_t> epochs;                   ///< absent: default_epochs
  int64_t batch = reconstruct::kDefaultBatch;
  reconstruct::LoraSettings lora;
};

/// Structured pruning: which units are removed before any single weight (docs/methods/structured.md).
struct StructureOptions {
  model::ShapeRequest shape;      ///< asks for nothing by default
  std::optional<double> size;     ///< instead of a shape: the share of the weights that the best one may have
  std::string criterion = "obs";  ///< of channels and heads: a name of structure::all_unit_criteria()
  structure::ExpertCriterion expert_criterion = structure::ExpertCriterion::kReap;
  structure::BlockCriterion block_criterion = structure::BlockCriterion::kLoss;

  bool asks() const { return size || shape.asks(); }
};

/// All settings of a run of `compress` or `reconstruct`. plan_options() has a row for each field that is not
/// of the caller's process.
struct CompressPlan {
  std::filesystem::path model;
  /// The tensors of `model` if they are in memory; its folder then holds everything else.
  std::shared_ptr<const model::LiveTensors> live;
  /// Writes the new weights into `live`, when everything else has succeeded, and to `output` only the report.
  bool in_place = false;
  /// Empty: the model is dense and the criterion chooses its masks. Otherwise the model came pruned, its
  /// zeros are the masks, and this is the dense model that it was made from.
  std::filesystem::path dense;
  std::filesystem::path output;
  bool overwrite = false;
  OutputOptions saved_as;
  StructureOptions structure;
  std::optional<sparsity::Pattern> pattern;  ///< absent: pattern_of()
  std::optional<sparsity::Group> group;      ///< absent: the criterion's own
  std::vector<sparsity::Rule> rules;  ///< the first match wins; `pattern` is for matrices without a match
  sparsity::Allocation allocation = sparsity::Allocation::kUniform;
  std::string criterion = "wanda";
  std::shared_ptr<const criteria::Criterion> own_criterion;  ///< of the caller, named `criterion`
  StatisticsSource statistics = StatisticsSource::kSparse;
  bool sensitivity = false;          ///< solve with the Kronecker-factored Fisher metric of the outputs
  double sensitivity_damping = 0.1;  ///< identity added to the metric, relative to its mean diagonal
  bool sensitivity_masks = false;    ///< multiply scores by the square root of the metric's diagonal
  Repair repair{.automatic = true, .stages = {}};
  bool guard = true;  ///< undo a stage that does not lower the divergence from the dense model
  CalibrationOptions calibration;
  EvaluationOptions evaluation;
  reconstruct::ClosedFormGrid grid;
  RegionOptions region;
  ModelStageOptions model_stage;
  backend::ComputeOptions compute;
  MemoryOptions memory;
  uint64_t seed = 0;
  std::string command;           ///< as typed, for the report
  bool restart = false;          ///< discard an unfinished run of this output instead of resuming it
  int64_t commit_seconds = 240;  ///< between two checkpoints within a region; 0: after each step
  OnDivergence on_divergence = OnDivergence::kStop;
};

/// The caller's criterion, or the built-in one of that name. Throws InvalidArgument if there is none.
const criteria::Criterion& criterion_of(const CompressPlan& plan);
/// The pattern of matrices without a rule: the plan's, or 50 % zeros, or no zeros if the plan asks for a
/// smaller shape.
sparsity::Pattern pattern_of(const CompressPlan& plan);
/// Whether the choice of units looks at activations, and so needs a calibration text.
bool reads_inputs(const StructureOptions& options);
/// Whether the closed form aims at the dense model's stream, at least in part.
bool blends_dense_stream(const CompressPlan& plan);
/// Whether the plan removes single weights, and not only units.
bool prunes_weights(const CompressPlan& plan);

/// Checks the range of every field and that the fields do not contradict each other; reads no file. Throws
/// InvalidArgument that names the fields in backticks, with a hint.
void validate(const CompressPlan& plan);

/// Throws BadFile if there is no model at the plan's paths. check_plan (pipeline/run_setup.h) calls it first.
void require_models(const CompressPlan& plan);

}  // namespace freelunch::pipeline
