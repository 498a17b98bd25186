#pragma once
#include <nlohmann/json_fwd.hpp>

#include "freelunch/base/sinks.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {

/// The content of `freelunch plan --json`: the budget of the plan as `compress` would run it, and what was
/// decided for it. Writes nothing. Throws Error.
nlohmann::json planned_run(const CompressPlan& plan, Sinks sinks);

}  // namespace freelunch::pipeline
