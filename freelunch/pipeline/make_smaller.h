#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// The stage at whose end the smaller model is there.
inline constexpr const char* kCutStage = "cut";
/// The stage that cuts one of several shapes.
std::string cut_stage(size_t index, size_t shapes);

struct SmallerModel {
  std::unique_ptr<model::LanguageModel> model;
  std::vector<int64_t> blocks;  ///< of the dense model that stay
};

/// Structured pruning: makes the smaller model that the plan asks for from the opened one, which is dense,
/// and opens it (docs/methods/structured.md). If the plan names a size instead of a shape, each shape that is
/// worth trying is cut, and the one nearest to the dense model on held-out windows stays. Smaller models are
/// folders in `work`, where a process that resumes the run finds them. The rest of the run repairs the
/// smaller model, with the dense one as its teacher.
SmallerModel make_smaller(RunContext& run, const std::filesystem::path& work);

}  // namespace freelunch::pipeline
