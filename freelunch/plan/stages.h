#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "freelunch/descent/trainable_block.h"

namespace freelunch::pipeline {

/// The steps of a repair. Each starts from the weights that the one before left.
enum class StageKind {
  kSolve,     ///< each matrix in closed form, while its mask is chosen
  kMatrix,    ///< gradient descent on each matrix
  kSublayer,  ///< on attention and MLP sublayers
  kBlocks,    ///< on K consecutive blocks
  kModel,     ///< on all kept weights and norms
  kLora,      ///< on masked low-rank adapters of the whole model, merged at the end
  kBiasNorm   ///< on biases and norms alone
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

/// What a stage of the whole model trains.
reconstruct::Trains trained_by(const Stage& stage);

/// "solve,sublayer" -> the stages; "none" -> no stage; "auto" -> nothing, decided by the planner. Throws
/// InvalidArgument for unknown names, repeated stages, or solve anywhere but first (it chooses the masks).
struct Repair {
  bool automatic = false;
  std::vector<Stage> stages;
};
Repair parse_repair(const std::string& text);

/// Peak learning rates that follow from the width of the residual stream and from how many sublayers a region
/// has (docs/methods/learning_rate.md).
double default_rate(const Stage& stage, int64_t width);
/// Epochs of the stages that train: 1 where both regions and the whole model are trained, else 2
/// (docs/decisions/0013).
int64_t default_epochs(const std::vector<Stage>& stages);

}  // namespace freelunch::pipeline
