#pragma once
#include <CLI/CLI.hpp>
#include <string>

#include "freelunch/model_io/output_format.h"

namespace freelunch::tools {

/// How a model is to be saved, as it is typed.
struct SavingOptions {
  std::string format, dtype, shard_size;
};

/// --format, --dtype, --shard-size.
void add_saving_options(CLI::App& command, SavingOptions& options, const std::string& format_help);

/// Turns the text into values; a format that was not given is hf. Throws InvalidArgument.
pipeline::OutputOptions to_output_options(const SavingOptions& options);

}  // namespace freelunch::tools
