#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <optional>
#include <string>

#include "freelunch/base/sinks.h"
#include "freelunch/descent/descent.h"
#include "freelunch/descent/distil.h"
#include "freelunch/model/forward.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/plan/plan.h"
#include "freelunch/record/journal.h"
#include "freelunch/record/run_report.h"
#include "freelunch/storage/activation_store.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::pipeline {

/// What the stages of one run share.
struct RunContext {
  const CompressPlan& plan;
  const OpenedModel& opened;            ///< what is changed and saved
  const model::LanguageModel& teacher;  ///< the dense model; the same, unless the opened one came pruned
  const sparsity::PatternMap& patterns;
  backend::Compute compute;
  at::Tensor windows;  ///< (samples + held_out, length) int64, CPU; undefined without calibration text
  int64_t held_out = 0;
  model::TensorFile& scratch;  ///< changed weights and masks
  /// What depends on the dense model and the windows alone: sensitivities, final hidden states. The same as
  /// `store` unless several runs share it.
  model::TensorFile& dense_scratch;
  RunReport& report;
  Journal& journal;
  std::vector<Stage> stages;  ///< of the repair
  Sinks sinks;
  /// Where the stages keep their streams.
  model::ActivationSettings activations;
  /// The dense model's stream after its last block, (windows, l, d), where a stage has made it on its way;
  /// the model stage takes it instead of a pass of its own.
  std::optional<model::ActivationStore> dense_stream;

  const model::LanguageModel& model() const { return *opened.model; }
  model::WeightView dense() const { return model::WeightView(teacher); }
  model::WeightView current() const { return model::WeightView(model(), &scratch); }
  /// The masks of a block, on the device.
  reconstruct::BlockMasks masks(int64_t block) const;
  /// A residual stream of the first `windows` windows, (windows, l, d) fp32 to its users: not yet written.
  model::ActivationStore empty_stream(int64_t windows) const;
  /// The stream before the first block, of all windows.
  model::ActivationStore embed(const model::WeightView& weights) const;
  /// Puts a block's fp32 tensors into the store: the given sublayer's, or all.
  void save_to_scratch(int64_t block, const model::Block& tensors, model::Sublayer sublayer);
};

/// Where masks come from: the plan's criterion, or the zeros that the model brought.
enum class MaskSource { kCriterion, kGiven };

/// Visits the windows a few at a time, visit(begin, count, held_out): the held-out ones come last, and a
/// batch never mixes the two kinds. Throws Interrupted on request.
void for_each_batch(int64_t windows, int64_t held_out,
                    const std::function<void(int64_t, int64_t, bool)>& visit);

/// What the plan asks of a stage, defaults filled in from the model. kind: how the names of the regions end
/// that are alike; where they turned out to need a lower rate than the default, the next one starts there
/// (docs/methods/learning_rate.md).
reconstruct::DescentRecipe descent_recipe(const RunContext& run, const Stage& stage, std::string_view kind);
/// Of the stages model, lora and bias-norm.
reconstruct::DistilRecipe distil_recipe(const RunContext& run, const Stage& stage);

/// Fractions of zeros by block under OWL, from one pass over the dense model.
std::vector<double> owl_allocation(RunContext& run);
/// What each matrix's outputs are worth, from one pass through the dense model and back; for `solve`.
void measure_sensitivity(RunContext& run);
/// Under which name the store keeps G of a matrix.
std::string sensitivity_name(const std::string& tensor);
/// Chooses the masks block by block on the pruned stream, and with `solve` fits each matrix in closed form.
void prune(RunContext& run, MaskSource masks, bool solve);
/// Gradient descent on one matrix after the other.
void repair_matrices(RunContext& run, const Stage& stage);
/// Gradient descent on regions of one sublayer, or of one or several blocks.
void repair_regions(RunContext& run, const Stage& stage);
/// Puts what the model stages need of the dense model into the store: its final hidden states, from the
/// stream that a stage has left or by a pass of their own. Nothing where no stage needs them, or they are
/// there.
void save_dense_hidden(RunContext& run);
/// Gradient descent through the whole model: all kept weights, adapters, or biases and norms.
void repair_model(RunContext& run, const Stage& stage);

/// What comes before the first gradient: masks taken or chosen, statistics for them, and solve if it is asked
/// for. `patterns` are those of `run`; OWL changes them.
void choose_masks(RunContext& run, sparsity::PatternMap& patterns);
/// Any other stage.
void repair(RunContext& run, const Stage& stage);

/// Runs a stage unless the journal says that it is finished, timed, and records it there.
void run_stage(RunContext& run, const std::string& name, const std::function<std::string()>& stage);
/// Runs a stage: progress, seconds, peak memory, a record in the report.
void timed(RunReport& report, at::Device device, const std::string& name,
           const std::function<std::string()>& stage);

}  // namespace freelunch::pipeline
