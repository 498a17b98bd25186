#include "freelunch/planner/cost_model.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/backend/backend.h"
#include "freelunch/model/layout.h"

namespace freelunch::pipeline {
namespace {

/// The share of the measured GEMM rate that whole passes reach, with norms, attention, activations and
/// autograd between the GEMMs. An estimate from runs of SmolLM2-135M (docs/memory.md).
constexpr double kEfficiency = 0.5;

/// Bytes that the libraries take once they compute: code pages, compiled kernels, thread stacks, free heap
/// between blocks. Fitted like kEfficiency.
constexpr int64_t kWorkingProcess = 30LL * 1000 * 1000;

/// Shape of one sublayer of one block.
SublayerShape sublayer_shape(const model::Config& config, int64_t block, size_t index) {
  SublayerShape shape{.heads = index == 0 ? config.heads * config.head_dim : 0};
  for (const model::WeightRole role : model::block_roles(config, block)) {
    if (!model::is_prunable(role) || model::sublayer_of(role) != model::kSublayers.at(index)) continue;
    const bool last = role.kind == model::WeightRole::kOutput || role.kind == model::WeightRole::kDown;
    const std::vector<int64_t> matrix = model::shape_of(config, block, role);
    const int64_t elements = matrix[0] * matrix[1];
    shape.elements += elements;
    shape.largest = std::max(shape.largest, elements);
    if (last) shape.inner = matrix[1];
    // a token passes only the experts chosen for it
    if (!last && role.expert < config.experts.chosen) shape.outputs += matrix[0];
  }
  return shape;
}

}  // namespace

CostModel::CostModel(const CompressPlan& plan, const PlanningInputs& inputs, int64_t default_epochs)
    : plan_(plan),
      inputs_(inputs),
      compute_bytes_(static_cast<int64_t>(at::elementSize(inputs.compute.dtype))),
      windows_(plan.calibration.text.empty() ? 0 : plan.calibration.samples + plan.calibration.held_out),
      length_(plan.calibration.length),
      region_epochs_(plan.region.epochs.value_or(default_epochs)),
      model_epochs_(plan.model_stage.epochs.value_or(default_epochs)) {
  for (int64_t b = 0; b < config().blocks; ++b) {
    for (size_t i = 0; i < sublayers_.size(); ++i) {
      const SublayerShape shape = sublayer_shape(config(), b, i);
      model_elements_ += shape.elements;
      if (shape.elements > sublayers_.at(i).elements) sublayers_.at(i) = shape;
    }
  }
}

int64_t CostModel::sublayer_elements() const { return std::max(attention().elements, mlp().elements); }

int64_t CostModel::largest_matrix() const { return std::max(attention().largest, mlp().largest); }

double CostModel::density() const { return 1 - sparsity::zero_fraction(pattern_of(plan_)); }

int64_t CostModel::softmax(int64_t rows) const {
  return backend::of(compute().device).has_kernels(compute().dtype)
             ? 0
             : 2 * rows * config().vocabulary * kFp32Bytes;
}

StageBudget CostModel::start(const std::string& name) const {
  StageBudget stage;
  stage.name = name;
  stage.runtime = inputs_.sizes.runtime + kWorkingProcess;
  return stage;
}

void CostModel::add_streams(StageBudget& stage, double count, int64_t width, at::ScalarType dtype) const {
  const int64_t window = length_ * width * static_cast<int64_t>(at::elementSize(dtype));
  const auto all = static_cast<int64_t>(count * static_cast<double>(windows_ * window));
  const bool on_disk = plan_.memory.activations == model::ActivationPlacement::kDisk;
  const bool on_host = plan_.memory.activations == model::ActivationPlacement::kHost &&
                       backend::of(compute().device).pinned_memory();
  if (!on_disk && !on_host) {
    stage.activations += all;
    return;
  }
  stage.activations +=
      static_cast<int64_t>(count * static_cast<double>(2 * std::min(kWindowsPerPass, windows_) * window));
  (on_disk ? stage.disk : stage.host) += all;
}

void CostModel::add_residual_streams(StageBudget& stage, double count) const {
  add_streams(stage, count, config().width, plan_.memory.activation_dtype.value_or(at::kFloat));
}

int64_t CostModel::pass(const SublayerShape& sublayer, int64_t tokens) const {
  const int64_t rotated = sublayer.heads > 0 ? sublayer.outputs : 0;
  return tokens * (config().width * (2 * kFp32Bytes + 2 * compute_bytes_) +
                   (sublayer.outputs + sublayer.inner + rotated) * compute_bytes_);
}

int64_t CostModel::widest_pass(int64_t tokens) const {
  return std::max(pass(attention(), tokens), pass(mlp(), tokens));
}

double CostModel::forward(const SublayerShape& sublayer, int64_t length) const {
  return 2.0 * static_cast<double>(sublayer.elements) + 2.0 * static_cast<double>(sublayer.heads * length);
}

CostModel::Training CostModel::region_training() const {
  const int64_t samples = plan_.calibration.samples;
  const int64_t batch = plan_.region.batch;
  return {.tokens = static_cast<double>(samples * length_ * region_epochs_),
          .steps = static_cast<double>(region_epochs_ * ((samples + batch - 1) / batch))};
}

void CostModel::spend(StageBudget& stage, double operations, double fp32_operations,
                      double swept_bytes) const {
  const MachineRates& rates = inputs_.rates;
  stage.operations = operations + fp32_operations;
  stage.seconds = operations / (rates.products * kEfficiency) + fp32_operations / rates.fp32_products +
                  swept_bytes / rates.bytes;
}

}  // namespace freelunch::pipeline
