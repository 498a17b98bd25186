#pragma once
#include "freelunch/base/sinks.h"
#include "freelunch/plan/plan.h"
#include "freelunch/record/run_report.h"

namespace freelunch::pipeline {

/// Prunes a model, repairs it, measures it, and writes a folder with the model in the plan's format,
/// freelunch.json and report.html; with plan.in_place the report only, and the weights into the live tensors.
/// The output folder appears complete or not at all. An unfinished run of the same plan is resumed. Throws
/// Error.
RunReport compress(const CompressPlan& plan, Sinks sinks);

}  // namespace freelunch::pipeline
