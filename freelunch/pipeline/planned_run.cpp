#include "freelunch/pipeline/planned_run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "freelunch/pipeline/run_setup.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {

nlohmann::json planned_run(const CompressPlan& plan, Sinks sinks) {
  using nlohmann::json;
  check_plan(plan);
  const backend::Compute compute = resolve(plan.compute);
  const RunInputs inputs = open_inputs(plan, compute, sinks);
  checked_patterns(plan, *inputs.opened.model);
  const ResolvedPlan resolved = resolve_run(plan, inputs, compute, sinks);
  json repair = json::array();
  for (const Stage& stage : resolved.stages) repair.push_back(to_string(stage));
  json object = to_json(resolved.budget);
  object["model"] = inputs.opened.model->path().filename().string();
  object["repair"] = repair;
  object["activations"] = name(resolved.plan.memory.activations);
  object["activation_dtype"] = backend::dtype_name(resolved.plan.memory.activation_dtype.value());
  object["changes"] = resolved.changes;
  object["compute"] = backend::dtype_name(compute.dtype);
  object["threads"] = at::get_num_threads();
  if (plan.memory.limit) object["memory_limit"] = *plan.memory.limit;
  return object;
}

}  // namespace freelunch::pipeline
