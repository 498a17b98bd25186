#include "plan_options.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/pipeline/compress.h"
#include "terminal.h"

namespace freelunch::tools {
namespace {

std::string quoted(const std::vector<std::string>& arguments) {
  std::string line = "freelunch";
  for (const std::string& a : arguments) {
    const bool plain = !a.empty() && a.find_first_of(" \t\"'\\$`*?;&|<>()") == std::string::npos;
    line += plain ? " " + a : " '" + a + "'";
  }
  return line;
}

void print_row(const std::string& name, const std::string& value) {
  fmt::print("  {:<22} {}\n", name, value);
}

void print_figure(const std::string& name, const std::optional<evaluate::Perplexity>& p) {
  if (p) print_row(name, fmt::format("{:8.3f}", p->perplexity));
}

std::string on_device(int64_t bytes) {
  return bytes == 0 ? "" : fmt::format(" + {:>8} on the device", pipeline::bytes_text(bytes));
}

void print_table(const pipeline::CompressPlan& plan, const pipeline::RunReport& report) {
  if (report.dense) {
    fmt::print("Perplexity on {} ({} windows of {} = {} tokens)\n", plan.evaluation.text.filename().string(),
               report.dense->windows, report.dense->length, report.dense->tokens);
    print_figure("dense", report.dense);
    print_figure("pruned", report.pruned);
    print_figure("repaired", report.repaired);
  }
  int64_t elements = 0;
  for (const auto& tensor : report.tensors) elements += tensor.elements;
  fmt::print("Sparsity\n");
  print_row("pruned matrices",
            fmt::format("{:.4f} % zeros ({})",
                        100.0 * static_cast<double>(report.zeros) / static_cast<double>(elements),
                        report.tensors.empty() ? ""
                        : plan.dense.empty()   ? sparsity::to_string(plan.pattern)
                                               : "as they came"));
  print_row("whole model",
            fmt::format("{:.2f} % of {} parameters",
                        100.0 * static_cast<double>(report.zeros) / static_cast<double>(report.parameters),
                        report.parameters));
  fmt::print("Stages\n");
  for (const auto& stage : report.stages) {
    print_row(stage.name, fmt::format("{:8.1f} s   peak {:>8}{}   {}", stage.seconds,
                                      pipeline::bytes_text(stage.peak_bytes),
                                      on_device(stage.peak_device_bytes), stage.note));
  }
  print_row("all", fmt::format("{:8.1f} s   peak {:>8}{}", report.seconds,
                               pipeline::bytes_text(report.peak_bytes), on_device(report.peak_device_bytes)));
  fmt::print("Output\n");
  print_row("model", plan.output.string());
  print_row("report", (plan.output / "report.html").string());
}

}  // namespace

void finish(PlanOptions& options, const Session& session) {
  pipeline::CompressPlan& plan = options.plan;
  if (!options.pattern.empty() && options.pattern.find(':') == std::string::npos) {
    fail(ErrorKind::kInvalidArgument,
         "--pattern '{}' is not KEEP:OF such as 2:4; for a fraction of zeros use --sparsity",
         options.pattern);
  }
  plan.pattern = sparsity::parse_pattern(options.pattern.empty() ? options.sparsity : options.pattern);
  if (options.group == "row") plan.group = sparsity::Group::kRow;
  if (options.group == "matrix") plan.group = sparsity::Group::kMatrix;
  for (const std::string& rule : options.rules) plan.rules.push_back(sparsity::parse_rule(rule));
  plan.allocation = sparsity::parse_allocation(options.allocation);
  plan.on_divergence = pipeline::parse_on_divergence(options.on_divergence);
  plan.statistics = pipeline::parse_statistics(options.statistics);
  plan.sensitivity = options.sensitivity == "kronecker";
  plan.region.propagation = pipeline::parse_propagation(options.propagation);
  plan.repair = pipeline::parse_repair(options.repair);
  plan.calibration.rule = calibration::parse_window_rule(options.windows);
  plan.region.loss = reconstruct::parse_loss(options.loss);
  plan.model_stage.loss = reconstruct::parse_token_loss(options.model_loss);
  plan.evaluation.windows =
      options.evaluate_windows > 0 ? std::optional(options.evaluate_windows) : std::nullopt;
  plan.memory.activations = pipeline::parse_activation_placement(options.activations);
  plan.memory.activation_dtype = pipeline::parse_activation_dtype(options.activation_dtype);
  if (!options.memory_limit.empty()) plan.memory.limit = pipeline::parse_bytes(options.memory_limit);
  plan.saved_as = to_output_options(options.saving);
  plan.command = quoted(session.arguments);
}

void add_calibration_options(CLI::App& command, PlanOptions& options) {
  pipeline::CalibrationOptions& c = options.plan.calibration;
  const char* group = "Calibration";
  command
      .add_option("--calibration", c.text,
                  "Text to calibrate on: plain, .jsonl or .jsonl.gz with a \"text\" field")
      ->group(group);
  command.add_flag("--lines", c.one_document_a_line, "Plain text holds one document a line")->group(group);
  command.add_option("--samples", c.samples, "Windows to train on")->capture_default_str()->group(group);
  command.add_option("--length", c.length, "Tokens a window")->capture_default_str()->group(group);
  command
      .add_option("--held-out", c.held_out,
                  "Further windows, used only to choose settings and to keep the best state")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--windows", options.windows,
                  "consecutive: from the start of the text; crop: seeded random crops of long documents")
      ->capture_default_str()
      ->group(group);
}

void add_repair_options(CLI::App& command, PlanOptions& options) {
  const char* group = "Repair";
  pipeline::CompressPlan& plan = options.plan;
  command
      .add_option(
          "--repair", options.repair,
          "auto, none, or stages in order: solve, matrix, sublayer, block, blocks:K, model, lora, bias-norm")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--loss", options.loss, "matrix, sublayer, block: mse, relative-mse, cosine or next-norm")
      ->capture_default_str()
      ->group(group);
  command
      .add_option(
          "--propagation", options.propagation,
          "matrix, sublayer, block: what a region reads and is compared with: dense, sparse or sparse-dense")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--learning-rate", plan.region.learning_rate,
                  "matrix, sublayer, block: peak rate; from the model's width unless given")
      ->group(group);
  command
      .add_option(
          "--epochs", plan.region.epochs,
          "matrix, sublayer, block: passes over the windows; 1 beside a stage of the whole model, else 2")
      ->group(group);
  command.add_option("--batch", plan.region.batch, "matrix, sublayer, block: windows a step")
      ->capture_default_str()
      ->group(group);
  command
      .add_flag("--freeze-norms", plan.region.freeze_norms,
                "matrix, sublayer, block: leave norms as they are")
      ->group(group);
  command
      .add_option("--model-loss", options.model_loss,
                  "model, lora, bias-norm: kl (distillation) or ce (next token)")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--model-learning-rate", plan.model_stage.learning_rate,
                  "model, lora, bias-norm: peak rate; from the model's width unless given")
      ->group(group);
  command
      .add_option("--model-epochs", plan.model_stage.epochs,
                  "model, lora, bias-norm: passes; 1 beside a stage of regions, else 2")
      ->group(group);
  command.add_option("--model-batch", plan.model_stage.batch, "model, lora, bias-norm: windows a step")
      ->capture_default_str()
      ->group(group);
  command.add_option("--lora-rank", plan.model_stage.lora.rank, "lora: rank of the adapters")
      ->capture_default_str()
      ->group(group);
  command.add_option("--lora-alpha", plan.model_stage.lora.alpha, "lora: adapters count alpha / rank times")
      ->capture_default_str()
      ->group(group);
  CLI::Option* sensitivity =
      command
          .add_option(
              "--sensitivity", options.sensitivity,
              "solve: none, or kronecker: errors weighed by what an output is worth to the likelihood")
          ->check(CLI::IsMember({"none", "kronecker"}))
          ->capture_default_str()
          ->group(group);
  command
      .add_option("--sensitivity-damping", plan.sensitivity_damping,
                  "solve: share of all outputs alike in that, in units of the mean worth")
      ->needs(sensitivity)
      ->capture_default_str()
      ->group(group);
  command
      .add_flag("--sensitivity-masks", plan.sensitivity_masks,
                "Masks by the same worths: scores times their root, where rows compete (--group matrix)")
      ->needs(sensitivity)
      ->group(group);
  command
      .add_option("--lambda", plan.grid.lambdas,
                  "solve: pulls towards the dense weights to choose from, in units of mean diag H")
      ->delimiter(',')
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--blend", plan.grid.blends,
                  "solve: blends to choose from; 0: pruned stream as target input, 1: dense stream")
      ->delimiter(',')
      ->capture_default_str()
      ->group(group);
  command.add_option("--iterations", plan.grid.iterations, "solve: conjugate-gradient steps")
      ->capture_default_str()
      ->group(group);
}

void add_output_options(CLI::App& command, PlanOptions& options, Session& session) {
  command.add_option("--output,-o", options.plan.output, "Folder to write")->required();
  command.add_flag("--overwrite", options.plan.overwrite, "Replace the output folder if it exists");
  command.add_flag("--restart", options.plan.restart,
                   "Start over where an unfinished run of this output would be gone on with");
  command
      .add_option("--commit-seconds", options.plan.commit_seconds,
                  "model, lora, bias-norm: seconds between two states on the disk to go on "
                  "from; 0: each step")
      ->capture_default_str();
  command
      .add_option(
          "--on-divergence", options.on_divergence,
          "A loss or gradient that is not finite: stop, or restart its region at half the rate, twice at "
          "most")
      ->capture_default_str();
  add_saving_options(command, options.saving,
                     "hf, gguf (as model.gguf in the folder) or bitmask; hf unless given");
  command.add_flag("--json", options.json, "Print the report as JSON on standard output");
  command.add_flag("--verbose", session.verbose, "Log what was chosen for each tensor");
  command.add_option("--seed", options.plan.seed, "Seed of every random choice")->capture_default_str();
}

void add_pruning_options(CLI::App& command, PlanOptions& options) {
  const char* group = "Pruning";
  CLI::Option* sparsity =
      command.add_option("--sparsity", options.sparsity, "Fraction of zeros, unstructured")
          ->capture_default_str()
          ->group(group);
  command.add_option("--pattern", options.pattern, "N:M instead: keep N of every M, such as 2:4")
      ->excludes(sparsity)
      ->group(group);
  command.add_option("--criterion", options.plan.criterion, criteria::criterion_names())
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--group", options.group,
                  "What competes under --sparsity: row or matrix; the criterion's own unless given")
      ->check(CLI::IsMember({"row", "matrix"}))
      ->group(group);
  command
      .add_option(
          "--rule", options.rules,
          "PATTERN=NAME-GLOB, such as 2:4=*self_attn* or dense=model.layers.0.*; may be repeated, the "
          "first match wins")
      ->group(group);
  command
      .add_option("--allocation", options.allocation,
                  "uniform, or owl: blocks with more outliers keep more, the fraction of all holds")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--statistics", options.statistics,
                  "Statistics for masks and solve from the sparse (pruned so far) or the dense stream")
      ->capture_default_str()
      ->group(group);
}

void add_memory_options(CLI::App& command, PlanOptions& options) {
  const char* group = "Memory";
  command
      .add_option(
          "--activations", options.activations,
          "Residual streams in memory (of the device), host (of the machine beside it) or disk; auto: the "
          "first with room")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--activation-dtype", options.activation_dtype,
                  "Residual streams kept as fp32 or bf16; auto: fp32, bf16 only to fit")
      ->capture_default_str()
      ->group(group);
  command
      .add_option(
          "--memory-limit", options.memory_limit,
          "Memory to stay below, the device's with --device cuda, such as 2GiB: picks settings that fit, or "
          "refuses")
      ->group(group);
}

void add_evaluation_options(CLI::App& command, PlanOptions& options) {
  const char* group = "Evaluation";
  pipeline::EvaluationOptions& e = options.plan.evaluation;
  command.add_option("--evaluate", e.text, "Text to measure perplexity on, before and after")->group(group);
  command.add_option("--evaluate-windows", options.evaluate_windows, "Windows of it to use; 0: all")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--evaluate-length", e.length,
                  "Tokens a window; the model's maximum, at most 2048, unless given")
      ->group(group);
}

void run_plan(PlanOptions& options, Session& session) {
  finish(options, session);
  with_sinks(session, [&](Sinks sinks) {
    const pipeline::RunReport report = pipeline::compress(options.plan, sinks);
    if (options.json) {
      fmt::print("{}\n", report.json);
    } else {
      print_table(options.plan, report);
    }
  });
}

}  // namespace freelunch::tools
