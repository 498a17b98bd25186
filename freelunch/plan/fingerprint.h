#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "freelunch/model/weight_view.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {

/// SHA-256 of the files that a run reads, in hexadecimal.
struct InputDigests {
  std::map<std::string, std::string> model;  ///< by file name
  std::map<std::string, std::string> dense;  ///< by file name; empty if there is no second model
  std::string calibration, evaluation;       ///< empty without such a text
};
/// Reads every input once. Throws Io naming the file that cannot be read, Interrupted on request.
InputDigests digest_inputs(const CompressPlan& plan);

/// Everything that decides which bytes a run writes: version, inputs, and the options with Effect::kResult,
/// device, dtype and threads as resolved. Two runs with the same fingerprint on one machine give the same
/// model. The options are under "option", each by its field_name().
nlohmann::json fingerprint(const CompressPlan& plan, const backend::Compute& compute,
                           const InputDigests& digests);

/// The plan of a report: the options that apply to a run of these stages, by name, with everything that the
/// plan left open as it was resolved. Paths are file names only. With several stages of one scope, the rate
/// is that of the last.
nlohmann::json plan_json(const CompressPlan& plan, const std::vector<StageSettings>& stages,
                         const backend::Compute& compute);

}  // namespace freelunch::pipeline
