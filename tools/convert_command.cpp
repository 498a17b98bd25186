#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "freelunch/model_io/conversion.h"
#include "saving_options.h"

namespace freelunch::tools {

void add_convert(CLI::App& app, Session& session) {
  struct Options {
    std::filesystem::path in, out;
    SavingOptions saving;
    bool overwrite = false, plain_zeros = false, json = false;
  };
  CLI::App* command = app.add_subcommand(
      "convert", "Write a model as a Hugging Face folder, a GGUF file or a sparse archive");
  auto options = std::make_shared<Options>();
  command->add_option("IN", options->in, "A Hugging Face folder, a sparse archive or a .gguf file")
      ->required();
  command->add_option("--output,-o", options->out, "OUT.gguf, or a folder")->required();
  add_saving_options(*command, options->saving, "hf, gguf or bitmask; from the output's name unless given");
  command->add_flag("--plain-zeros", options->plain_zeros,
                    "Make negative zeros plain ones, which an archive need not keep");
  command->add_flag("--overwrite", options->overwrite, "Replace the output if it exists");
  command->add_flag("--json", options->json, "Print JSON on standard output");
  command->callback([options, &session] {
    pipeline::OutputOptions saved_as = to_output_options(options->saving);
    saved_as.format = pipeline::format_of_output(
        options->out, options->saving.format.empty() ? std::nullopt : std::optional(saved_as.format));
    saved_as.plain_zeros = options->plain_zeros;
    with_sinks(session, [&](Sinks sinks) {
      pipeline::convert(options->in, options->out, saved_as, options->overwrite, sinks);
      if (options->json) {
        fmt::print("{}\n", nlohmann::json{{"output", options->out.string()}}.dump());
      } else {
        fmt::print("{}\n", options->out.string());
      }
    });
  });
}

}  // namespace freelunch::tools
