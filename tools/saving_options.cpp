#include "saving_options.h"

#include "freelunch/plan/memory_options.h"

namespace freelunch::tools {

void add_saving_options(CLI::App& command, SavingOptions& options, const std::string& format_help) {
  const char* group = "Output";
  command.add_option("--format", options.format, format_help)->group(group);
  command
      .add_option("--dtype", options.dtype,
                  "Of the weights: f32, f16, bf16, and q8_0 in GGUF; each tensor's own unless given")
      ->group(group);
  command
      .add_option("--shard-size", options.shard_size,
                  "Most bytes of tensors in a file, such as 5GB; the input's shards unless given")
      ->group(group);
}

pipeline::OutputOptions to_output_options(const SavingOptions& options) {
  pipeline::OutputOptions result;
  if (!options.format.empty()) result.format = pipeline::parse_format(options.format);
  if (!options.dtype.empty()) result.dtype = pipeline::parse_output_dtype(options.dtype);
  if (!options.shard_size.empty())
    result.shard_bytes = static_cast<uint64_t>(pipeline::parse_bytes(options.shard_size));
  return result;
}

}  // namespace freelunch::tools
