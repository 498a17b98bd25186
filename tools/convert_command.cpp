#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "pipeline/conversion.h"

namespace freelunch::tools {

void add_convert(CLI::App& app, Session& session) {
  struct Options {
    std::filesystem::path in, out;
    bool overwrite = false, json = false;
  };
  CLI::App* command = app.add_subcommand("convert", "Write a model as a Hugging Face folder");
  auto options = std::make_shared<Options>();
  command->add_option("IN", options->in, "A .gguf file or a Hugging Face folder")->required();
  command->add_option("--output,-o", options->out, "Folder to write")->required();
  command->add_flag("--overwrite", options->overwrite, "Replace the output folder if it exists");
  command->add_flag("--json", options->json, "Print JSON on standard output");
  command->callback([options, &session] {
    with_sinks(session, [&](Sinks sinks) {
      pipeline::convert(options->in, options->out, options->overwrite, sinks);
      if (options->json) {
        fmt::print("{}\n", nlohmann::json{{"output", options->out.string()}}.dump());
      } else {
        fmt::print("{}\n", options->out.string());
      }
    });
  });
}

}  // namespace freelunch::tools
