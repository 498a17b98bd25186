#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/model_io/conversion.h"

namespace freelunch::tools {
namespace {

namespace fs = std::filesystem;
using pipeline::Use;

struct Conversion {
  fs::path in, out;
  std::optional<pipeline::Format> format;
  pipeline::OutputOptions saved_as;
  bool overwrite = false, json = false;
};

std::vector<pipeline::Option<Conversion>> conversion_options() {
  using R = pipeline::Rows<Conversion>;
  const auto none = pipeline::Effect::kNone;
  std::vector<pipeline::Option<Conversion>> rows{
      R::path("output", "File to write, with a name that ends in .gguf, or a folder", Use::kEveryRun,
              pipeline::field(&Conversion::out))
          .with(none),
      R::flag("overwrite", "Replace the output if it exists", Use::kEveryRun,
              pipeline::field(&Conversion::overwrite))
          .with(none),
      R::word("format", "Format of the output", Use::kEveryRun, pipeline::kFormatNames,
              pipeline::field(&Conversion::format))
          .without_it("gguf if the output's name ends in .gguf, else hf")
          .with(none)};
  for (const auto& row : pipeline::saving_options(&Conversion::saved_as)) rows.push_back(row);
  return pipeline::grouped<Conversion>("Output", rows);
}

void run_conversion(Conversion& c, const Session& session) {
  c.saved_as.format = pipeline::format_of_output(c.out, c.format);
  with_sinks(session, [&](Sinks sinks) {
    pipeline::convert(c.in, c.out, c.saved_as, c.overwrite, sinks);
    if (c.json)
      fmt::print("{}\n", nlohmann::json{{"output", c.out.string()}}.dump());
    else
      fmt::print("{}\n", c.out.string());
  });
}

}  // namespace

void add_convert(CLI::App& app, Session& session) {
  CLI::App* command =
      app.add_subcommand("convert", "Save a model as a Hugging Face folder, a GGUF file or a sparse archive");
  auto conversion = std::make_shared<Conversion>();
  add_model(*command, conversion->in);
  add_rows(*command, session, conversion_options(), *conversion);
  command->get_option("--output")->required();
  add_switch(*command, session, "json", "Print JSON on standard output", conversion->json);
  command->callback([conversion, &session] { run_conversion(*conversion, session); });
}

}  // namespace freelunch::tools
