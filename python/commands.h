#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "freelunch/base/sinks.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/model/live_tensors.h"

namespace freelunch::python {

/// A call of a command from Python.
struct Call {
  std::string command;        ///< "compress"
  std::string model;          ///< its path; of a model in memory, a folder with everything but the tensors
  nlohmann::json options;     ///< by the option's name; null: not given
  std::string as_typed = {};  ///< for the report
  std::shared_ptr<const model::LiveTensors> live = {};
  bool in_place = false;
  std::shared_ptr<const criteria::Criterion> criterion = {};  ///< the caller's
};

/// Runs the command. Returns the text that it prints with --json. Throws what the library throws.
std::string run_call(const Call& call, Sinks sinks);

/// The options of every command: {"compress": [{"name": ..., "kind": ..., "default": ...}, ...], ...}.
std::string options_json();

/// The keyword of an option: "held_out"; "lambda_", because `lambda` is a word of the language.
std::string keyword_of(std::string_view option);

/// A message of the library with its fields respelled as keywords.
std::string with_keywords(std::string_view message);

}  // namespace freelunch::python
