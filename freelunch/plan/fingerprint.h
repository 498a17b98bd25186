#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "freelunch/model/weight_view.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {

/// SHA-256 of what a run reads, as sha256sum prints it.
struct InputDigests {
  std::map<std::string, std::string> model;  ///< by file name
  std::map<std::string, std::string> dense;  ///< likewise; empty if there is no second model
  std::string calibration, evaluation;       ///< empty without such a text
};
/// Reads every input once. Throws Io naming the file that cannot be read, Interrupted on request.
InputDigests digest_inputs(const CompressPlan& plan);

/// Everything that decides which bytes a run writes: version, inputs, options, threads, precision. Two runs
/// with the same fingerprint on one machine give the same model.
nlohmann::json fingerprint(const CompressPlan& plan, const backend::Compute& compute,
                           const InputDigests& digests);

}  // namespace freelunch::pipeline
