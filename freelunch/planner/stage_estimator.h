#pragma once
#include <array>

#include "freelunch/planner/budget.h"

namespace freelunch::pipeline {

/// The sizes that a stage's memory follows from. Bytes and operations are what the stage's code makes and
/// does, line by line; docs/memory.md has the formulas.
class StageEstimator {
 public:
  StageEstimator(const CompressPlan& plan, const model::LanguageModel& model, const backend::Compute& compute,
                 const std::vector<Stage>& stages, const MeasuredSizes& size, const MachineRates& rates);

  StageBudget evaluate(const std::string& name) const;
  StageBudget allocate() const;
  StageBudget sensitivity() const;
  StageBudget prune(bool solve, bool given) const;
  StageBudget matrices() const;
  StageBudget regions(const Stage& stage) const;
  /// As reconstruct::planned_bytes says.
  StageBudget whole(const Stage& stage) const;

  /// Masks, and changed weights in two places: one goes beside what the journal holds of it, never over it.
  int64_t scratch() const;

 private:
  struct SublayerShape {
    int64_t elements = 0;  ///< of all matrices
    int64_t largest = 0;   ///< of one matrix
    int64_t inner = 0;     ///< width of what the last matrix reads
    int64_t outputs = 0;   ///< of all matrices but the last, added up
    int64_t heads = 0;     ///< width of the attention's heads; 0 in an MLP
  };

  StageBudget named(const std::string& name) const;
  /// What a softmax over that many rows of logits makes where our kernels do not work in place: off the CPU.
  int64_t softmax(int64_t rows) const;
  int64_t block_elements() const { return sublayers_[0].elements + sublayers_[1].elements; }
  /// Streams of all windows, (windows, l, width) kept in `kept`: in memory, or read a few windows at a time.
  void add_streams(StageBudget& stage, double count, int64_t width, at::ScalarType kept) const;
  void add_residual_streams(StageBudget& stage, double count) const;
  /// What a forward pass over `tokens` makes and drops.
  int64_t pass(const SublayerShape& sublayer, int64_t tokens) const;
  int64_t widest_pass(int64_t tokens) const;
  /// Operations of a forward pass over one token in a window of `length`.
  double forward(const SublayerShape& sublayer, int64_t length) const;
  double forward_block(int64_t length) const {
    return forward(sublayers_[0], length) + forward(sublayers_[1], length);
  }
  /// What gradient descent on regions takes for each of them.
  struct Training {
    double tokens = 0;
    double steps = 0;
  };
  Training region_training() const;
  /// Of one step of descent on regions of so many sublayers, operations for one token in all of them: a
  /// forward pass and two backward, less the stream's gradient where the norm before it needs none
  /// (model::linear_of_normed).
  double descent(int64_t sublayers) const;
  void spend(StageBudget& stage, double operations, double fp32_operations, double swept_bytes) const;

  const CompressPlan& plan_;
  const model::LanguageModel& model_;
  const model::Config& config_;
  backend::Compute compute_;
  MeasuredSizes size_;
  MachineRates rates_;
  std::array<SublayerShape, 2> sublayers_;
  int64_t compute_bytes_;  // of a number in the compute dtype
  int64_t windows_;        // held-out ones included
  int64_t length_;
  int64_t region_epochs_;
  int64_t model_epochs_;
  int64_t scratch_ = 0;
};

}  // namespace freelunch::pipeline
