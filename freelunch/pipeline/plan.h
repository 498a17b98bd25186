#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibration/windows.h"
#include "criteria/criterion.h"
#include "model/weights.h"
#include "reconstruct/closed_form.h"
#include "reconstruct/loss.h"
#include "reconstruct/token_loss.h"
#include "sparsity/pattern.h"

namespace freelunch::pipeline {

/// The steps of a repair. Each starts from the weights that the one before left.
enum class StageKind { kSolve, kHalf, kBlock, kModel };
std::string_view name(StageKind stage);

/// "solve,half" -> the stages; "none" -> no stage; "auto" -> nothing, decided by the planner. Throws
/// InvalidArgument for unknown names, repeated stages, or solve anywhere but first (it chooses the masks).
struct Repair {
  bool automatic = false;
  std::vector<StageKind> stages;
};
Repair parse_repair(const std::string& text);

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
};

struct RegionOptions {
  reconstruct::Loss loss = reconstruct::Loss::kRelativeMse;
  std::optional<double> learning_rate;  ///< absent: from the model's width
  int64_t epochs = 2;
  int64_t batch = 4;
  bool freeze_norms = false;
};

struct ModelStageOptions {
  reconstruct::TokenLoss loss = reconstruct::TokenLoss::kKl;
  std::optional<double> learning_rate;
  std::optional<int64_t> epochs;  ///< absent: 1 after a local stage, else 2
  int64_t batch = 4;
};

/// Everything `compress` was asked for.
struct CompressPlan {
  std::filesystem::path model;
  std::filesystem::path output;
  bool overwrite = false;
  sparsity::Pattern pattern = sparsity::Unstructured{};
  std::optional<sparsity::Group> group;  ///< absent: the criterion's own
  std::string criterion = "wanda";
  Repair repair{.automatic = true, .stages = {}};
  CalibrationOptions calibration;
  EvaluationOptions evaluation;
  reconstruct::ClosedFormGrid grid;
  RegionOptions region;
  ModelStageOptions whole;
  ComputeOptions compute;
  uint64_t seed = 0;
  std::string command;  ///< as typed, for the report
};

/// Refuses what cannot be done, before anything is read. Throws InvalidArgument with a hint.
void validate(const CompressPlan& plan);

/// Peak learning rates that follow from the width of the residual stream (docs/methods/learning_rate.md).
double default_region_rate(int64_t width);
double default_model_rate(int64_t width);

}  // namespace freelunch::pipeline
