#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <string>

#include "base/sinks.h"
#include "model/forward.h"
#include "model/tensor_file.h"
#include "pipeline/opened_model.h"
#include "pipeline/plan.h"
#include "pipeline/run_report.h"
#include "reconstruct/descent.h"

namespace freelunch::pipeline {

/// What the stages of one run share.
struct Compression {
  const CompressPlan& plan;
  const OpenedModel& opened;
  model::Compute compute;
  at::Tensor windows;  ///< (samples + held_out, length) int64, CPU; undefined without calibration text
  int64_t held_out = 0;
  model::TensorFile& store;  ///< changed weights and masks
  RunReport& report;
  Sinks sinks;
  /// The dense model's stream after its last block, (windows, l, d) fp32, where a stage has made it on its
  /// way; the model stage takes it instead of a pass of its own.
  at::Tensor dense_stream;

  const model::LanguageModel& model() const { return *opened.model; }
  model::Weights dense() const { return model::Weights(model()); }
  model::Weights current() const { return model::Weights(model(), &store); }
  /// The masks of a block, on the device.
  reconstruct::BlockMasks masks(int64_t block) const;
  /// Puts a block's fp32 tensors into the store: the given half's, or all.
  void keep(int64_t block, const model::Block& tensors, model::Half half);
};

/// Chooses the masks block by block on the pruned stream, and with `solve` fits each matrix in closed form.
void prune(Compression& run, bool solve);
/// Gradient descent on regions of one half or one block each.
void repair_regions(Compression& run, StageKind stage);
/// Gradient descent on the whole model.
void repair_model(Compression& run);

/// Runs a stage: progress, seconds, peak memory, a record in the report.
void timed(RunReport& report, const std::string& name, const std::function<std::string()>& stage);

}  // namespace freelunch::pipeline
