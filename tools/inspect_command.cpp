#include <fmt/core.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "command_options.h"
#include "freelunch/model_io/inspection.h"
#include "freelunch/plan/memory_options.h"

namespace freelunch::tools {
namespace {

/// "  not used: NAME, NAME"; nothing for an empty list.
void print_names(std::string_view what, const nlohmann::json& names) {
  if (names.empty()) return;
  std::string line;
  for (const auto& name : names)
    line += fmt::format("{}{}", line.empty() ? "" : ", ", name.get<std::string>());
  fmt::print("  {}: {}\n", what, line);
}

void print_inspection(const nlohmann::json& report) {
  fmt::print("{}: {} ({}), {} parameters, {} on disk, {} as a sparse archive\n",
             report["path"].get<std::string>(), report["architecture"].get<std::string>(),
             report["format"].get<std::string>(), report["parameters"].get<int64_t>(),
             pipeline::bytes_text(report["bytes"].get<int64_t>()),
             pipeline::bytes_text(report["archive_bytes"].get<int64_t>()));
  fmt::print(
      "  vocabulary {}, width {}, intermediate {}, blocks {}, heads {} ({} key/value) of {}, length {}\n",
      report["vocabulary"].get<int64_t>(), report["width"].get<int64_t>(),
      report["intermediate"].get<int64_t>(), report["blocks"].get<int64_t>(), report["heads"].get<int64_t>(),
      report["kv_heads"].get<int64_t>(), report["head_dim"].get<int64_t>(),
      report["max_length"].get<int64_t>());
  const auto& pattern = report["sparsity"]["pattern"];
  fmt::print("  zeros: {:.4f} % of the block matrices{}, {:.4f} % of the model\n",
             100 * report["sparsity"]["matrices"].get<double>(),
             pattern.is_string() ? fmt::format(" ({})", pattern.get<std::string>()) : "",
             100 * report["sparsity"]["whole_model"].get<double>());
  print_names("tensors not used", report["ignored"]["tensors"]);
  print_names("keys not used", report["ignored"]["keys"]);
  fmt::print("\n{:<52} {:<8} {:<18} {:>10} {:>10} {:>9}  {}\n", "tensor", "dtype", "shape", "on disk",
             "archive", "zeros", "pattern");
  for (const auto& tensor : report["tensors"]) {
    const bool counted = tensor.contains("sparsity");
    fmt::print("{:<52} {:<8} {:<18} {:>10} {:>10} {:>9}  {}\n", tensor["name"].get<std::string>(),
               tensor["dtype"].get<std::string>(), tensor["shape"].dump(),
               pipeline::bytes_text(tensor["bytes"].get<int64_t>()),
               counted && tensor["archive_bytes"].is_number()  // null for a slice of a stored tensor
                   ? pipeline::bytes_text(tensor["archive_bytes"].get<int64_t>())
                   : "",
               counted ? fmt::format("{:.4f} %", 100 * tensor["sparsity"].get<double>()) : "",
               counted && tensor["pattern"].is_string() ? tensor["pattern"].get<std::string>() : "");
  }
}

}  // namespace

void add_inspect(CLI::App& app, Session& session) {
  struct Options {
    std::filesystem::path model;
    bool json = false;
  };
  CLI::App* command = app.add_subcommand(
      "inspect", "Show a model's architecture, tensors, dtypes, sizes, sparsity and N:M patterns");
  auto options = std::make_shared<Options>();
  add_model(*command, options->model);
  add_switch(*command, session, "json", "Print JSON on standard output", options->json);
  command->callback([options, &session] {
    with_sinks(session, [&](Sinks sinks) {
      const nlohmann::json report = pipeline::inspect(options->model, sinks);
      if (options->json) {
        fmt::print("{}\n", report.dump());
      } else {
        print_inspection(report);
      }
    });
  });
}

}  // namespace freelunch::tools
