#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/pipeline/run_context.h"
#include "freelunch/plan/option.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// A row of the table of stages. A new stage is a file NAME.cpp in this folder that defines NAME_stage(), and
/// one line in stage.cpp.
struct StageType {
  std::string_view name;
  StageScope scope = StageScope::kRegions;
  bool takes_count = false;  ///< "NAMEs:K" is understood: regions of K blocks
  /// Its regions end in the residual stream. `loss next-norm` needs that, since a norm reads the stream next.
  bool ends_in_stream = true;
  std::optional<reconstruct::Trains> trains;  ///< scope kModel: which parameters
  /// What the stage's random streams are named after; empty: its name. A renamed stage keeps its former name
  /// here, so that the same seed still gives the same weights.
  std::string_view random_name = {};
  /// Default peak learning rate, RateUnit::kRelative, from the blocks of a region
  /// (docs/methods/learning_rate.md). Null if the stage does no gradient descent.
  double (*default_rate)(int64_t blocks) = nullptr;
  StageBudget (*budget)(const CostModel& cost, const Stage& stage) = nullptr;
  void (*run)(RunContext& run, const Stage& stage) = nullptr;
};

/// In the order in which help and errors list them.
const std::vector<const StageType*>& all_stages();
/// "solve, matrix, sublayer, block, blocks:K, ...".
std::string stage_names();
/// What an option applies to, as help texts name it: "matrix, sublayer, block"; empty for every run.
std::string stages_of(Use use);
/// Throws InvalidArgument listing the names if the table has no such stage.
const StageType& type_of(const Stage& stage);

/// Checks a plan's repair against the table. Throws InvalidArgument for unknown names, a count for a stage
/// that takes none, a stage on masks that is not the first, `sensitivity` without such a stage, and `loss
/// next-norm` with regions that do not end in the stream.
void check_repair(const CompressPlan& plan);
/// What `repair auto` may mean, the best first; the planner takes the first that fits into memory.
std::vector<std::vector<Stage>> automatic_repairs();

/// Whether the first stage works on matrices while their masks are chosen.
bool works_on_masks(const std::vector<Stage>& stages);
/// Whether a stage trains one region after the other.
bool is_local(const Stage& stage);
/// Whether a stage trains the whole model.
bool is_global(const Stage& stage);
/// The part of a random stream's name that tells the stage.
std::string random_name(const Stage& stage);
/// Which parameters a whole-model stage trains.
reconstruct::Trains trained_by(const Stage& stage);

struct PeakRate {
  double rate = 0;  ///< 0 if the stage does no gradient descent
  reconstruct::RateUnit unit = reconstruct::RateUnit::kRelative;
};
/// The peak learning rate: the plan's, or the stage's default.
PeakRate peak_rate(const CompressPlan& plan, const Stage& stage);
/// Epochs of each stage that trains: 1 if both regions and the whole model are trained, else 2
/// (docs/decisions/0013).
int64_t default_epochs(const std::vector<Stage>& stages);
/// The stages with the settings that a run of the plan uses.
std::vector<StageSettings> settings_of(const CompressPlan& plan, const std::vector<Stage>& stages);

}  // namespace freelunch::pipeline
