#pragma once
#include <array>
#include <optional>

#include "freelunch/model/language_model.h"
#include "freelunch/plan/plan.h"
#include "freelunch/planner/budget.h"
#include "freelunch/planner/machine_rates.h"

namespace freelunch::pipeline {

/// How many windows pass a block at a time where nothing is trained: enough tokens for the GEMMs to run at
/// their rate, and little memory. The stages (for_each_batch) and their budgets share this definition.
inline constexpr int64_t kWindowsPerPass = 4;

/// Bytes of one number.
inline constexpr int64_t kBf16Bytes = 2;
inline constexpr int64_t kFp32Bytes = 4;
inline constexpr int64_t kFp64Bytes = 8;

/// fp32 numbers that one AdamW step on a region reads or writes for each weight: leaf, gradient, master, two
/// moments and the cast for the next pass, each read and written. An estimate; it decides no memory.
inline constexpr double kAdamSweeps = 12;

/// What budgets follow from, apart from the plan.
struct PlanningInputs {
  const model::LanguageModel& model;
  backend::Compute compute;
  MeasuredSizes sizes;
  MachineRates rates;
  /// The smaller model that the stages work on, if the plan asks for one; absent: `model`.
  std::optional<model::Config> smaller = {};
};

/// Sizes of the largest attention or MLP sublayer of a model. `width` is that of the residual stream.
struct SublayerShape {
  int64_t elements = 0;  ///< of all its prunable matrices together
  int64_t largest = 0;   ///< of the largest matrix
  int64_t inner = 0;     ///< width of the input of the last matrix
  int64_t outputs = 0;   ///< output widths added up: all matrices that one token uses, except the last
  int64_t heads = 0;     ///< heads x head size; 0 in an MLP

  /// Elements of the matrices that read the sublayer's normed input: all but the last.
  int64_t elements_of_first(int64_t width) const { return elements - inner * width; }
};

/// The building blocks of a stage's budget: sizes of the model, and bytes and operations of what every stage
/// does. It knows no stage. A stage's own formula stands next to the stage's code (pipeline/stages).
class CostModel {
 public:
  /// `default_epochs`: epochs of a stage for which the plan names none.
  CostModel(const CompressPlan& plan, const PlanningInputs& inputs, int64_t default_epochs);

  const CompressPlan& plan() const { return plan_; }
  const PlanningInputs& inputs() const { return inputs_; }
  const model::LanguageModel& model() const { return inputs_.model; }
  const model::Config& config() const { return inputs_.smaller ? *inputs_.smaller : inputs_.model.config(); }
  const backend::Compute& compute() const { return inputs_.compute; }

  const SublayerShape& attention() const { return sublayers_[0]; }
  const SublayerShape& mlp() const { return sublayers_[1]; }
  const std::array<SublayerShape, 2>& sublayers() const { return sublayers_; }
  /// Elements of the prunable matrices: of a block, of the larger sublayer, of the largest matrix, and of the
  /// whole model.
  int64_t block_elements() const { return sublayers_[0].elements + sublayers_[1].elements; }
  int64_t sublayer_elements() const;
  int64_t largest_matrix() const;
  int64_t model_elements() const { return model_elements_; }
  /// Elements of the LM head (vocabulary, width).
  int64_t head_elements() const { return config().vocabulary * config().width; }
  /// Share of the weights that pruning retains.
  double density() const;

  int64_t compute_bytes() const { return compute_bytes_; }  ///< of one number in the compute dtype
  int64_t windows() const { return windows_; }              ///< calibration windows, held-out ones included
  int64_t length() const { return length_; }                ///< tokens of a calibration window
  /// Calibration tokens, held-out windows included.
  double tokens() const { return static_cast<double>(windows_ * length_); }
  /// Calibration windows without the held-out ones.
  int64_t trained_windows() const { return windows_ - plan_.calibration.held_out; }
  int64_t region_epochs() const { return region_epochs_; }
  int64_t model_epochs() const { return model_epochs_; }

  /// An empty budget with the memory of the process: what is resident before the first stage, and what the
  /// libraries add once they compute.
  StageBudget start(const std::string& name) const;
  /// Adds `count` streams of all windows, (windows, length, width) in `dtype`: whole in memory, or, where the
  /// plan puts activations on disk or in host memory, two passes' windows each (one in use, one read ahead).
  void add_streams(StageBudget& stage, double count, int64_t width, at::ScalarType dtype) const;
  /// Adds `count` residual streams in the plan's activation dtype.
  void add_residual_streams(StageBudget& stage, double count) const;
  /// Bytes that a forward pass of `tokens` tokens through a sublayer allocates and frees:
  /// tokens x (width x (2 fp32 + 2 compute) + (outputs + inner + rotated) x compute), where the stream before
  /// and after is fp32, its norm and the last output are in the compute dtype, and attention holds its
  /// outputs a second time, rotated.
  int64_t pass(const SublayerShape& sublayer, int64_t tokens) const;
  /// The larger of the two sublayers' pass().
  int64_t widest_pass(int64_t tokens) const;
  /// Bytes of a softmax over `rows` rows of logits where no kernel of ours works in place: two fp32 copies.
  int64_t softmax(int64_t rows) const;

  /// Operations of a forward pass for one token in a window of `length` tokens: 2 a weight, and causal
  /// attention, which computes half of the scores twice (queries by keys, scores by values).
  double forward(const SublayerShape& sublayer, int64_t length) const;
  /// The same for a block.
  double forward_block(int64_t length) const {
    return forward(sublayers_[0], length) + forward(sublayers_[1], length);
  }
  /// What gradient descent on regions does in each region: tokens seen and optimiser steps, all epochs.
  struct Training {
    double tokens = 0;
    double steps = 0;
  };
  Training region_training() const;
  /// Sets the operations of a stage and its seconds: `operations` in the compute dtype, `fp32_operations`,
  /// and `swept_bytes` read or written outside GEMMs.
  void spend(StageBudget& stage, double operations, double fp32_operations, double swept_bytes) const;

  /// Bytes of the scratch file: for each prunable weight a mask of one byte and the fp32 value twice, because
  /// a new value is written next to the one that the journal records, never over it.
  int64_t scratch() const { return model_elements_ * (2 * kFp32Bytes + 1); }

 private:
  CompressPlan plan_;
  PlanningInputs inputs_;
  std::array<SublayerShape, 2> sublayers_;
  int64_t model_elements_ = 0;
  int64_t compute_bytes_;
  int64_t windows_;
  int64_t length_;
  int64_t region_epochs_;
  int64_t model_epochs_;
};

}  // namespace freelunch::pipeline
