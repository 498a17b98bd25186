#include "pipeline/plan.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>

#include <algorithm>
#include <charconv>
#include <sstream>

#include "base/error.h"

namespace freelunch::pipeline {
namespace {

constexpr std::array<std::pair<StageKind, std::string_view>, 4> kStages{{{StageKind::kSolve, "solve"},
                                                                         {StageKind::kHalf, "half"},
                                                                         {StageKind::kBlock, "block"},
                                                                         {StageKind::kModel, "model"}}};

StageKind parse_stage(const std::string& text) {
  for (const auto& [stage, stage_name] : kStages) {
    if (stage_name == text) return stage;
  }
  fail(ErrorKind::kInvalidArgument,
       "repair stage '{}' is not known; expected auto, none, or a list of solve, half, block, model", text);
}

at::Device resolve_device(const std::string& text) {
  const bool cuda = at::hasCUDA() && at::globalContext().hasCUDA();
  if (text == "cpu" || (text == "auto" && !cuda)) return at::kCPU;
  if (text == "auto") return {at::kCUDA, 0};
  if (text.starts_with("cuda")) {
    int index = 0;
    const bool indexed = text.size() > 5 && text[4] == ':';
    const auto [end, error] =
        std::from_chars(text.data() + std::min<size_t>(5, text.size()), text.data() + text.size(), index);
    const bool parsed =
        text == "cuda" || (indexed && error == std::errc() && end == text.data() + text.size());
    if (!parsed)
      fail(ErrorKind::kInvalidArgument, "device '{}' is not understood; expected auto, cpu, cuda or cuda:N",
           text);
    if (!cuda)
      fail(ErrorKind::kInvalidArgument, "device '{}' was asked for, but this build or machine has no CUDA",
           text);
    return {at::kCUDA, static_cast<at::DeviceIndex>(index)};
  }
  fail(ErrorKind::kInvalidArgument, "device '{}' is not understood; expected auto, cpu, cuda or cuda:N",
       text);
}

bool has_bf16(at::Device device) {
  if (device.is_cuda()) return true;
  const auto capabilities = at::cpu::get_cpu_capabilities();
  for (const char* name : {"avx512_bf16", "amx_bf16", "bf16"}) {
    const auto it = capabilities.find(name);
    if (it != capabilities.end() && it->second.isBool() && it->second.toBool()) return true;
  }
  return false;
}

void require_positive(int64_t value, std::string_view option) {
  if (value < 1) fail(ErrorKind::kInvalidArgument, "{} is {}, expected at least 1", option, value);
}

}  // namespace

std::string_view name(StageKind stage) {
  for (const auto& [known, stage_name] : kStages) {
    if (known == stage) return stage_name;
  }
  return "";
}

Repair parse_repair(const std::string& text) {
  if (text == "auto") return {.automatic = true, .stages = {}};
  Repair repair;
  if (text == "none") return repair;
  if (text.ends_with(',')) {  // getline would drop the empty item after it
    fail(ErrorKind::kInvalidArgument, "repair '{}' ends in a comma", text);
  }
  std::stringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    const StageKind stage = parse_stage(item);
    if (std::find(repair.stages.begin(), repair.stages.end(), stage) != repair.stages.end()) {
      fail(ErrorKind::kInvalidArgument, "repair '{}' names stage {} twice", text, item);
    }
    if (stage == StageKind::kSolve && !repair.stages.empty()) {
      fail(ErrorKind::kInvalidArgument,
           "repair '{}': solve must come first, because it chooses the masks as it goes", text);
    }
    repair.stages.push_back(stage);
  }
  if (repair.stages.empty()) fail(ErrorKind::kInvalidArgument, "repair is empty; did you mean none?");
  return repair;
}

model::Compute resolve(const ComputeOptions& options) {
  if (options.threads < 0)
    fail(ErrorKind::kInvalidArgument, "--threads is {}, expected 0 or more", options.threads);
  if (options.threads > 0) at::set_num_threads(static_cast<int>(options.threads));
  const at::Device device = resolve_device(options.device);
  if (options.compute == "fp32") return {.device = device, .dtype = at::kFloat};
  if (options.compute == "bf16") return {.device = device, .dtype = at::kBFloat16};
  if (options.compute != "auto") {
    fail(ErrorKind::kInvalidArgument, "compute '{}' is not known; expected auto, fp32 or bf16",
         options.compute);
  }
  return {.device = device, .dtype = has_bf16(device) ? at::kBFloat16 : at::kFloat};
}

void validate(const CompressPlan& plan) {
  const criteria::Criterion& criterion = criteria::criterion_named(plan.criterion);
  const bool repairs = plan.repair.automatic || !plan.repair.stages.empty();
  if (plan.calibration.text.empty() && (repairs || criterion.needs_column_norms)) {
    fail(ErrorKind::kInvalidArgument,
         "a calibration text is needed for {}: pass --calibration FILE, or use --criterion magnitude "
         "--repair none",
         repairs ? "repair" : "criterion " + plan.criterion);
  }
  require_positive(plan.calibration.samples, "--samples");
  if (plan.calibration.length < 2)
    fail(ErrorKind::kInvalidArgument, "--length is {}, expected at least 2", plan.calibration.length);
  if (plan.calibration.held_out < 0) fail(ErrorKind::kInvalidArgument, "--held-out is negative");
  require_positive(plan.region.epochs, "--epochs");
  require_positive(plan.region.batch, "--batch");
  require_positive(plan.whole.epochs.value_or(1), "--model-epochs");
  require_positive(plan.evaluation.windows.value_or(1), "--evaluate-windows");
  for (const auto& rate : {plan.region.learning_rate, plan.whole.learning_rate}) {
    if (rate && !(*rate > 0 && *rate < 1))
      fail(ErrorKind::kInvalidArgument, "learning rate {} is not in (0, 1)", *rate);
  }
  if (plan.group && std::holds_alternative<sparsity::NofM>(plan.pattern)) {
    fail(ErrorKind::kInvalidArgument,
         "--group says what competes under --sparsity; with --pattern {} each {} weights compete",
         sparsity::to_string(plan.pattern), std::get<sparsity::NofM>(plan.pattern).of);
  }
}

double default_region_rate(int64_t width) { return std::min(4e-3, 4e-3 * 576 / static_cast<double>(width)); }
double default_model_rate(int64_t width) { return std::min(2e-4, 2e-4 * 576 / static_cast<double>(width)); }

}  // namespace freelunch::pipeline
