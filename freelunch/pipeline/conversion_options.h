#pragma once
#include <filesystem>
#include <optional>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/model_io/output_format.h"
#include "freelunch/plan/option.h"

namespace freelunch::pipeline {

/// What `convert` is asked for.
struct ConversionPlan {
  std::filesystem::path model, output;
  std::optional<Format> format;  ///< absent: by the output's name
  OutputOptions saved_as;
  bool overwrite = false;
};

std::vector<Option<ConversionPlan>> conversion_options();

/// Writes the model in the format that the plan asks for. Throws Error.
void convert(const ConversionPlan& plan, Sinks sinks);

}  // namespace freelunch::pipeline
