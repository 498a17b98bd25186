#pragma once
#include <ATen/core/TensorBody.h>

#include <optional>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/descent/region.h"
#include "freelunch/model/forward.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/pipeline/stream_pair.h"
#include "freelunch/plan/plan.h"
#include "freelunch/record/journal.h"
#include "freelunch/record/run_report.h"
#include "freelunch/storage/activation_store.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::pipeline {

/// What the stages of one run share.
struct RunContext {
  const CompressPlan& plan;
  const OpenedModel& opened;  ///< the model that is changed and saved
  /// The dense model: the opened one, unless that came pruned or is the smaller one of structured pruning.
  const model::LanguageModel& teacher;
  const sparsity::PatternMap& patterns;
  backend::Compute compute;
  at::Tensor windows;  ///< (samples + held_out, length) int64, CPU; undefined without calibration text
  int64_t held_out = 0;
  model::TensorFile& scratch;  ///< changed weights and masks
  /// What depends only on the dense model and the windows: sensitivities, final hidden states. The same file
  /// as `scratch` unless several runs share it.
  model::TensorFile& dense_scratch;
  RunReport& report;
  Journal& journal;
  std::vector<Stage> stages;  ///< of the repair
  Sinks sinks;
  model::ActivationSettings activations;  ///< where the stages keep their streams
  /// The dense model's stream after the last block, (windows, l, d), if a stage has computed it. A
  /// whole-model stage takes it instead of a pass of its own.
  std::optional<model::ActivationStore> dense_stream;
  /// Whether tensors that are replaced keep their former version (former_tensors.h), because the running
  /// stage may be undone.
  bool keeps_former = false;
  std::string note;  ///< what the running stage has to say in its record
  /// For each block of the opened model the block of the teacher that it comes from; empty if none is
  /// missing.
  std::vector<int64_t> teacher_blocks = {};

  const model::LanguageModel& model() const { return *opened.model; }
  model::WeightView dense() const { return model::WeightView(teacher); }
  /// The weights that masks are chosen on: those of the opened model, or, if it came pruned, the dense
  /// model's.
  model::WeightView unpruned() const { return plan.dense.empty() ? model::WeightView(model()) : dense(); }
  /// Whether the opened model is a smaller one, made from the teacher by structured pruning.
  bool is_smaller() const { return plan.dense.empty() && &teacher != &model(); }
  model::WeightView current() const { return model::WeightView(model(), &scratch); }
  /// The teacher's block behind a block of ours.
  int64_t teacher_block(int64_t block) const {
    return teacher_blocks.empty() ? block : teacher_blocks.at(static_cast<size_t>(block));
  }
  /// That block, matrices in the compute dtype, with the index that it has among ours.
  model::Block dense_block(int64_t block) const;
  /// The teacher's blocks that were removed before a block of ours; block may be one past the last.
  std::vector<int64_t> removed_before(int64_t block) const;
  /// The masks of a block, on the compute device.
  reconstruct::BlockMasks masks(int64_t block) const;
  /// Space for a residual stream of the first `windows` windows, (windows, l, d), read and written as fp32.
  model::ActivationStore empty_stream(int64_t windows) const;
  /// The stream before the first block, all windows.
  model::ActivationStore embed(const model::WeightView& weights) const;
  /// The stream of `weights` before the first block, and that of unpruned() if `with_dense`.
  StreamPair streams(const model::Forward& forward, const model::WeightView& weights, bool with_dense) const;
  /// A block as it was before the running stage, which must keep former versions: matrices in the compute
  /// dtype, other tensors in fp32, on the compute device.
  model::Block before_stage(int64_t block) const;
  /// To be called before a stage replaces a tensor of the model in the scratch file.
  void before_change(const std::string& tensor);
  /// Writes the fp32 tensors of one sublayer of a block to the scratch file.
  void save_to_scratch(int64_t block, const model::Block& tensors, model::Sublayer sublayer);
};

}  // namespace freelunch::pipeline
