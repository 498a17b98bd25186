#include "pipeline/plan.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/cpu/Utils.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>

#include "base/error.h"

namespace freelunch::pipeline {
namespace {

constexpr std::array<std::pair<StageKind, std::string_view>, 7> kStages{
    {{StageKind::kSolve, "solve"},
     {StageKind::kMatrix, "matrix"},
     {StageKind::kHalf, "half"},
     {StageKind::kBlocks, "block"},
     {StageKind::kModel, "model"},
     {StageKind::kLora, "lora"},
     {StageKind::kBiasNorm, "bias-norm"}}};
constexpr std::array<std::pair<Propagation, std::string_view>, 3> kPropagations{
    {{Propagation::kDense, "dense"},
     {Propagation::kSparse, "sparse"},
     {Propagation::kSparseDense, "sparse-dense"}}};
constexpr std::array<std::pair<OnDivergence, std::string_view>, 2> kOnDivergence{
    {{OnDivergence::kStop, "stop"}, {OnDivergence::kRestart, "restart"}}};
constexpr std::array<std::pair<StatisticsSource, std::string_view>, 2> kStatistics{
    {{StatisticsSource::kSparse, "sparse"}, {StatisticsSource::kDense, "dense"}}};

/// The entry of that name; throws InvalidArgument listing the names.
template <typename T, size_t N>
T parse_named(const std::array<std::pair<T, std::string_view>, N>& all, std::string_view text,
              std::string_view what) {
  std::string known;
  for (const auto& [value, value_name] : all) {
    if (value_name == text) return value;
    known += (known.empty() ? "" : ", ") + std::string(value_name);
  }
  fail(ErrorKind::kInvalidArgument, "{} '{}' is not known; expected one of {}", what, text, known);
}

template <typename T, size_t N>
std::string_view name_in(const std::array<std::pair<T, std::string_view>, N>& all, T value) {
  for (const auto& [known, value_name] : all) {
    if (known == value) return value_name;
  }
  return "";
}

Stage parse_stage(const std::string& text) {
  for (const auto& [stage, stage_name] : kStages) {
    if (stage_name == text) return {.kind = stage};
  }
  if (text.starts_with("blocks:")) {
    int64_t blocks = 0;
    const auto [end, error] = std::from_chars(text.data() + 7, text.data() + text.size(), blocks);
    if (error == std::errc() && end == text.data() + text.size() && blocks >= 1)
      return {.kind = StageKind::kBlocks, .blocks = blocks};
  }
  fail(ErrorKind::kInvalidArgument,
       "repair stage '{}' is not known; expected auto, none, or a list of solve, matrix, half, block, "
       "blocks:K, "
       "model, lora, bias-norm",
       text);
}

/// A device, ready to be asked what its memory holds.
at::Device initialised(at::DeviceIndex index) {
  at::globalContext().lazyInitDevice(at::kCUDA);
  return {at::kCUDA, index};
}

at::Device resolve_device(const std::string& text) {
  const bool cuda = at::hasCUDA() && at::globalContext().hasCUDA();
  if (text == "cpu" || (text == "auto" && !cuda)) return at::kCPU;
  if (text == "auto") return initialised(0);
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
    const int devices = c10::impl::VirtualGuardImpl(at::kCUDA).deviceCount();
    if (index >= devices)
      fail(ErrorKind::kInvalidArgument, "device '{}' was asked for, but this machine has {} of them", text,
           devices);
    return initialised(static_cast<at::DeviceIndex>(index));
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

/// Masks chosen by what outputs are worth: needs those worths, scores, and rows that compete.
void refuse_pointless_sensitivity_masks(const CompressPlan& plan) {
  if (!plan.sensitivity)
    fail(ErrorKind::kInvalidArgument,
         "--sensitivity-masks needs --sensitivity kronecker, which measures the factors");
  if (!plan.dense.empty())
    fail(ErrorKind::kInvalidArgument, "--sensitivity-masks chooses masks, but the model came with its own");
  if (plan.criterion == "random")
    fail(ErrorKind::kInvalidArgument, "--sensitivity-masks weighs a criterion's scores, but random has none");
  if (const auto* n = std::get_if<sparsity::NofM>(&plan.pattern)) {
    fail(ErrorKind::kInvalidArgument,
         "--sensitivity-masks weighs rows against each other, but with --pattern {} the {} weights that "
         "compete are of "
         "one row",
         sparsity::to_string(plan.pattern), n->of);
  }
  if (plan.group.value_or(criteria::criterion_named(plan.criterion).group) == sparsity::Group::kRow)
    fail(ErrorKind::kInvalidArgument,
         "--sensitivity-masks weighs rows against each other, but the weights of a row compete among "
         "themselves; pass "
         "--group matrix");
}

/// Combinations that cannot mean anything, each with the reason.
void refuse_contradictions(const CompressPlan& plan, bool repairs) {
  const auto& stages = plan.repair.stages;
  const auto has = [&](auto matches) { return std::any_of(stages.begin(), stages.end(), matches); };
  const bool solves = plan.repair.automatic || (!stages.empty() && stages.front().kind == StageKind::kSolve);
  const bool blends =
      std::any_of(plan.grid.betas.begin(), plan.grid.betas.end(), [](double b) { return b != 0; });
  if (plan.sensitivity && !solves)
    fail(ErrorKind::kInvalidArgument,
         "--sensitivity changes how solve fits matrices, but the repair has no solve");
  if (!(plan.sensitivity_damping > 0 && plan.sensitivity_damping <= 1000))
    fail(ErrorKind::kInvalidArgument, "--sensitivity-damping is {}, expected a number in (0, 1000]",
         plan.sensitivity_damping);
  if (plan.sensitivity_masks) refuse_pointless_sensitivity_masks(plan);
  if (blends && plan.statistics == StatisticsSource::kDense)
    fail(ErrorKind::kInvalidArgument,
         "--blend mixes the pruned and the dense stream, but with --statistics dense there is only one");
  if (plan.region.loss == reconstruct::Loss::kNextNorm &&
      has([](const Stage& s) { return s.kind == StageKind::kMatrix; }))
    fail(ErrorKind::kInvalidArgument,
         "--loss next-norm needs regions that end in the residual stream; a single matrix does not");
  if (plan.allocation == sparsity::Allocation::kOwl) {
    if (std::holds_alternative<sparsity::NofM>(plan.pattern))
      fail(ErrorKind::kInvalidArgument,
           "--allocation owl gives every block its own fraction of zeros, which pattern {} fixes",
           sparsity::to_string(plan.pattern));
    if (plan.calibration.text.empty())
      fail(ErrorKind::kInvalidArgument, "--allocation owl needs --calibration FILE");
  }
  if (!repairs && plan.region.propagation != Propagation::kSparseDense)
    fail(ErrorKind::kInvalidArgument, "--propagation says how regions are trained, but the repair is none");
}

}  // namespace

std::string to_string(const Stage& stage) {
  if (stage.kind == StageKind::kBlocks && stage.blocks != 1) return fmt::format("blocks:{}", stage.blocks);
  return std::string(name_in(kStages, stage.kind));
}

bool is_local(const Stage& stage) {
  return stage.kind == StageKind::kMatrix || stage.kind == StageKind::kHalf ||
         stage.kind == StageKind::kBlocks;
}

bool is_global(const Stage& stage) {
  return stage.kind == StageKind::kModel || stage.kind == StageKind::kLora ||
         stage.kind == StageKind::kBiasNorm;
}

Propagation parse_propagation(std::string_view text) {
  return parse_named(kPropagations, text, "propagation");
}
std::string_view name(Propagation propagation) { return name_in(kPropagations, propagation); }

OnDivergence parse_on_divergence(std::string_view text) {
  return parse_named(kOnDivergence, text, "--on-divergence");
}

StatisticsSource parse_statistics(std::string_view text) {
  return parse_named(kStatistics, text, "statistics source");
}
std::string_view name(StatisticsSource source) { return name_in(kStatistics, source); }

Repair parse_repair(const std::string& text) {
  if (text == "auto") return {.automatic = true, .stages = {}};
  Repair repair;
  if (text == "none") return repair;
  if (text.ends_with(',')) {  // getline would drop the empty item after it
    fail(ErrorKind::kInvalidArgument, "repair '{}' ends in a comma", text);
  }
  std::stringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    const Stage stage = parse_stage(item);
    if (std::find(repair.stages.begin(), repair.stages.end(), stage) != repair.stages.end()) {
      fail(ErrorKind::kInvalidArgument, "repair '{}' names stage {} twice", text, item);
    }
    if (stage.kind == StageKind::kSolve && !repair.stages.empty()) {
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
  if (!plan.dense.empty() && !repairs)
    fail(ErrorKind::kInvalidArgument,
         "a model that came pruned has its masks already; --repair none leaves nothing to do");
  if (plan.calibration.text.empty() && (repairs || criterion.needs_inputs())) {
    fail(ErrorKind::kInvalidArgument,
         "a calibration text is needed for {}: pass --calibration FILE, or use --criterion magnitude "
         "--repair none",
         repairs ? "repair" : "criterion " + plan.criterion);
  }
  require_positive(plan.calibration.samples, "--samples");
  if (plan.calibration.length < 2)
    fail(ErrorKind::kInvalidArgument, "--length is {}, expected at least 2", plan.calibration.length);
  if (plan.calibration.held_out < 0) fail(ErrorKind::kInvalidArgument, "--held-out is negative");
  if (plan.commit_seconds < 0) fail(ErrorKind::kInvalidArgument, "--commit-seconds is negative");
  require_positive(plan.region.epochs.value_or(1), "--epochs");
  require_positive(plan.region.batch, "--batch");
  require_positive(plan.whole.epochs.value_or(1), "--model-epochs");
  require_positive(plan.evaluation.windows.value_or(1), "--evaluate-windows");
  for (const auto& rate : {plan.region.learning_rate, plan.whole.learning_rate}) {
    if (rate && !(*rate > 0 && *rate < 1))
      fail(ErrorKind::kInvalidArgument, "learning rate {} is not in (0, 1)", *rate);
  }
  validate(plan.saved_as);
  if (plan.output.extension() == ".gguf")
    fail(ErrorKind::kInvalidArgument,
         "--output '{}' names a folder, which holds the report too; pass a folder and --format gguf",
         plan.output.string());
  refuse_contradictions(plan, repairs);
  if (plan.group && std::holds_alternative<sparsity::NofM>(plan.pattern)) {
    fail(ErrorKind::kInvalidArgument,
         "--group says what competes under --sparsity; with --pattern {} each {} weights compete",
         sparsity::to_string(plan.pattern), std::get<sparsity::NofM>(plan.pattern).of);
  }
}

double default_rate(const Stage& stage, int64_t width) {
  const double scale = std::min(1.0, 576 / static_cast<double>(width));
  switch (stage.kind) {
    case StageKind::kModel:
      return 2e-4 * scale;
    case StageKind::kLora:
      return 2e-3 * scale;
    case StageKind::kBiasNorm:
      return 3e-3 * scale;
    case StageKind::kMatrix:
      return 5e-4 * scale;
    default: {
      // Every half in series adds its change to the region's output, so each may move less.
      const int64_t halves = stage.kind == StageKind::kHalf ? 1 : 2 * stage.blocks;
      return 2e-3 * scale / std::sqrt(static_cast<double>(halves));
    }
  }
}

double learning_rate(const CompressPlan& plan, const Stage& stage, int64_t width) {
  const auto& chosen = is_local(stage) ? plan.region.learning_rate : plan.whole.learning_rate;
  return chosen.value_or(default_rate(stage, width));
}

int64_t default_epochs(const std::vector<Stage>& stages) {
  const auto any = [&](auto is) { return std::any_of(stages.begin(), stages.end(), is); };
  return any(is_local) && any(is_global) ? 1 : 2;
}

}  // namespace freelunch::pipeline
