#include "freelunch/planner/stage_estimator.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/closed_form/row_solver.h"
#include "freelunch/descent/distil.h"
#include "freelunch/descent/region.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {
namespace {

constexpr int64_t kBatch = 4;        // windows a pass without gradients takes at a time
constexpr int64_t kLogitRows = 256;  // of an evaluation
constexpr int64_t kTrainRows = 256;  // of a loss with a gradient
constexpr int64_t kFp32 = 4;
constexpr int64_t kFp64 = 8;
// Of the rate of bare matrix products, what whole passes reach: norms, attention, activations, autograd.
constexpr double kEfficiency = 0.5;

// What the libraries take once they are at work: code pages, compiled kernels, thread stacks, heap between
// blocks.
constexpr int64_t kAtWork = 30LL * 1000 * 1000;

int64_t size_of(at::ScalarType dtype) { return static_cast<int64_t>(at::elementSize(dtype)); }

}  // namespace

StageEstimator::StageEstimator(const CompressPlan& plan, const model::LanguageModel& model,
                               const backend::Compute& compute, const std::vector<Stage>& stages,
                               const MeasuredSizes& size, const MachineRates& rates)
    : plan_(plan),
      model_(model),
      config_(model.config()),
      compute_(compute),
      size_(size),
      rates_(rates),
      compute_bytes_(size_of(compute.dtype)),
      windows_(plan.calibration.text.empty() ? 0 : plan.calibration.samples + plan.calibration.held_out),
      length_(plan.calibration.length),
      region_epochs_(plan.region.epochs.value_or(default_epochs(stages))),
      model_epochs_(plan.model_stage.epochs.value_or(default_epochs(stages))) {
  for (int64_t b = 0; b < config_.blocks; ++b) {
    for (size_t h = 0; h < 2; ++h) {
      SublayerShape sublayer{.heads = h == 0 ? config_.heads * config_.head_dim : 0};
      for (const model::ModelTensor* tensor : model.block_tensors(b)) {
        const model::WeightRole role = *tensor->role;
        if (!model::is_prunable(role) || model::sublayer_of(role) != model::kSublayers.at(h)) continue;
        const bool last = role.kind == model::WeightRole::kOutput || role.kind == model::WeightRole::kDown;
        const int64_t elements = tensor->shape[0] * tensor->shape[1];
        sublayer.elements += elements;
        sublayer.largest = std::max(sublayer.largest, elements);
        if (last) sublayer.inner = tensor->shape[1];
        // each token passes the chosen experts alone
        if (!last && role.expert < config_.experts.chosen) sublayer.outputs += tensor->shape[0];
      }
      scratch_ += sublayer.elements * (kFp32 + 1);
      SublayerShape& largest = sublayers_.at(h);
      if (sublayer.elements > largest.elements) largest = sublayer;
    }
  }
}

int64_t StageEstimator::softmax(int64_t rows) const {
  return compute_.device.is_cpu() ? 0 : 2 * rows * config_.vocabulary * kFp32;
}

int64_t StageEstimator::scratch() const { return scratch_ / (kFp32 + 1) * (2 * kFp32 + 1); }

StageBudget StageEstimator::named(const std::string& name) const {
  StageBudget stage;
  stage.name = name;
  stage.runtime = size_.runtime + kAtWork;
  return stage;
}

void StageEstimator::add_streams(StageBudget& stage, double count, int64_t width, at::ScalarType kept) const {
  const int64_t window = length_ * width * size_of(kept);
  const bool on_disk = plan_.memory.activations == model::ActivationPlacement::kDisk;
  const bool on_host =
      plan_.memory.activations == model::ActivationPlacement::kHost && !compute_.device.is_cpu();
  if (on_disk || on_host) {
    stage.activations +=
        static_cast<int64_t>(count * static_cast<double>(2 * std::min(kBatch, windows_) * window));
    (on_disk ? stage.disk : stage.host) +=
        static_cast<int64_t>(count * static_cast<double>(windows_ * window));
  } else {
    stage.activations += static_cast<int64_t>(count * static_cast<double>(windows_ * window));
  }
}

void StageEstimator::add_residual_streams(StageBudget& stage, double count) const {
  add_streams(stage, count, config_.width, plan_.memory.activation_dtype.value_or(at::kFloat));
}

int64_t StageEstimator::pass(const SublayerShape& sublayer, int64_t tokens) const {
  // the stream before and after in fp32, its norm and what is added; outputs, in an attention rotated too,
  // inner
  const int64_t rotated = sublayer.heads > 0 ? sublayer.outputs : 0;
  return tokens * (config_.width * (2 * kFp32 + 2 * compute_bytes_) +
                   (sublayer.outputs + sublayer.inner + rotated) * compute_bytes_);
}

int64_t StageEstimator::widest_pass(int64_t tokens) const {
  return std::max(pass(sublayers_[0], tokens), pass(sublayers_[1], tokens));
}

double StageEstimator::forward(const SublayerShape& sublayer, int64_t length) const {
  // causal attention: half of the scores, twice
  return 2.0 * static_cast<double>(sublayer.elements) + 2.0 * static_cast<double>(sublayer.heads * length);
}

void StageEstimator::spend(StageBudget& stage, double operations, double fp32_operations,
                           double swept_bytes) const {
  stage.operations = operations + fp32_operations;
  stage.seconds = operations / (rates_.products * kEfficiency) + fp32_operations / rates_.fp32_products +
                  swept_bytes / rates_.bytes;
}

StageBudget StageEstimator::evaluate(const std::string& name) const {
  StageBudget stage = named(name);
  const int64_t window = size_.eval_length * config_.width * kFp32;
  const int64_t stream = std::min(size_.evaluated, std::max<int64_t>(1, (64LL << 20U) / window)) * window;
  const int64_t head = config_.vocabulary * config_.width * compute_bytes_;
  const int64_t block = block_elements() * compute_bytes_;
  stage.activations = stream;
  // while blocks are at work, and after them
  const int64_t reading = std::max(sublayers_[0].largest, sublayers_[1].largest) * kFp32;
  const int64_t passing = block + std::max(reading, widest_pass(size_.eval_length));
  const int64_t scoring =
      head + kLogitRows * config_.vocabulary * compute_bytes_ + softmax(kLogitRows) + window;
  stage.weights = scoring > passing ? head : block;
  stage.workspace = std::max(scoring, passing) - stage.weights;
  const double tokens = static_cast<double>(size_.evaluated * size_.eval_length);
  const double vocabulary = 2.0 * static_cast<double>(config_.vocabulary * config_.width);
  spend(stage, tokens * (static_cast<double>(config_.blocks) * forward_block(size_.eval_length) + vocabulary),
        0, 0);
  return stage;
}

StageBudget StageEstimator::allocate() const {
  StageBudget stage = named("allocate");
  add_residual_streams(stage, 1);
  add_streams(stage, 1, std::max(sublayers_[0].inner, sublayers_[1].inner), compute_.dtype);
  stage.weights = block_elements() * (compute_bytes_ + kFp32);  // and the scores
  stage.workspace = widest_pass(kBatch * length_);
  const double tokens = static_cast<double>(windows_ * length_ * config_.blocks);
  spend(stage, tokens * forward_block(length_), 0, 0);
  return stage;
}

StageBudget StageEstimator::sensitivity() const {
  StageBudget stage = named("sensitivity");
  add_residual_streams(stage, 1);
  const int64_t inputs = (windows_ - plan_.calibration.held_out) * length_ * config_.width * 2;
  stage.disk += config_.blocks * inputs;
  stage.weights = block_elements() * compute_bytes_;
  double products = 0;
  for (const model::ModelTensor* tensor : model_.block_tensors(0)) {
    if (!model::is_prunable(*tensor->role)) continue;
    stage.statistics += tensor->shape[0] * tensor->shape[0] * kFp64;
    products += static_cast<double>(tensor->shape[0] * tensor->shape[0]);
  }
  const int64_t tokens = kBatch * length_;
  int64_t outputs = 0;
  for (const SublayerShape& sublayer : sublayers_)
    outputs += 3 * sublayer.outputs + 2 * sublayer.inner + config_.width;
  const int64_t graph = tokens * (8 * config_.width * kFp32 + 2 * outputs * compute_bytes_);
  const int64_t head = config_.vocabulary * config_.width * compute_bytes_;
  const int64_t sampling = kTrainRows * config_.vocabulary * (compute_bytes_ + 3 * kFp32);
  stage.workspace = std::max(graph, head + sampling - stage.weights - stage.statistics);
  const auto all = static_cast<double>((windows_ - plan_.calibration.held_out) * length_);
  spend(stage,
        all * (static_cast<double>(config_.blocks) * 4 * forward_block(length_) +
               8.0 * static_cast<double>(config_.vocabulary * config_.width)),
        all * static_cast<double>(config_.blocks) * 1.25 * products, 0);
  return stage;
}

StageBudget StageEstimator::prune(bool solve, bool given) const {
  const criteria::Criterion& criterion = criteria::criterion_named(plan_.criterion);
  const bool cross = solve && std::any_of(plan_.grid.blends.begin(), plan_.grid.blends.end(),
                                          [](double blend) { return blend != 0; });
  const bool gram = solve || criterion.needs == criteria::StatsNeeded::kGram;
  const bool observes = solve || (!given && criterion.needs != criteria::StatsNeeded::kNothing);
  StageBudget stage = named(solve ? "solve" : "prune");
  const int64_t largest = std::max(sublayers_[0].largest, sublayers_[1].largest);
  const int64_t widest = std::max({config_.width, sublayers_[0].inner, sublayers_[1].inner});
  const int64_t square = widest * widest;
  stage.weights =
      block_elements() * kFp32 + std::max(sublayers_[0].elements, sublayers_[1].elements) * compute_bytes_;
  if (cross || plan_.statistics == StatisticsSource::kDense)
    stage.weights += block_elements() * compute_bytes_;
  if (observes) {
    add_residual_streams(stage, cross ? 2 : 1);
    add_streams(stage, cross ? 2 : 1, widest, compute_.dtype);
  }
  const int64_t moments = cross ? 3 : 1;
  // of windows trained on, and held out: of symmetric sums half
  const int64_t symmetric =
      statistics::Gram::bytes(widest) + statistics::Gram::bytes(widest, statistics::kHeldOutSums);
  if (gram) stage.statistics = cross ? 2 * symmetric + 2 * square * kFp64 : symmetric;
  // scores, sorted copies and masks; then the solver's matrices beside the moments, which stay in fp32 where
  // something else than the local solution of their split needs them
  const int64_t choosing =
      largest * 3 * kFp32 +
      (criterion.needs == criteria::StatsNeeded::kGram && !given ? 4 * square * kFp64 : 0);
  const bool split_alone = !cross && !plan_.sensitivity && reconstruct::SplitGram::serves(compute_.device);
  // the sums in fp64 go as fp32 moments come
  const int64_t solving =
      (split_alone ? std::max(3 * square * kFp32, 2 * square * kFp32 + largest * 5 * kFp32)
                   : (2 * moments + 2) * square * kFp32 + largest * 5 * kFp32) -
      stage.statistics;
  const int64_t tokens = kBatch * length_;
  const int64_t observing =
      observes
          ? widest_pass(tokens) + (gram ? 2 * tokens * widest * compute_bytes_ +
                                              (compute_bytes_ == kFp32 ? square / 4 * (kFp32 + kFp64) : 0)
                                        : 0)
          : 0;
  stage.workspace = std::max({choosing, solve ? solving : 0, observing});

  double operations = 0;
  double fp32 = 0;
  const double all = observes ? static_cast<double>(windows_ * length_) : 0;
  const bool split = reconstruct::SplitGram::serves(compute_.device);
  double& sums = split && !cross && compute_.dtype == at::kBFloat16 ? operations : fp32;
  double& steps = split ? operations : fp32;
  const auto products =
      static_cast<double>(split ? reconstruct::products_of(plan_.grid.iterations) : plan_.grid.iterations);
  // the search goes downhill from the middle of the grid
  const auto settings =
      static_cast<double>(std::min<size_t>(plan_.grid.lambdas.size(), 4) * plan_.grid.blends.size());
  for (const SublayerShape& sublayer : sublayers_) {
    operations += all * (cross ? 2 : 1) * forward(sublayer, length_);
    if (gram) {
      for (const int64_t w : {config_.width, sublayer.inner})
        sums += all * (cross ? 4.5 : 1.25) * static_cast<double>(w * w);
    }
    if (!solve) continue;
    for (const int64_t w : {config_.width, sublayer.inner}) {
      const double elements =
          static_cast<double>(w == sublayer.inner ? sublayer.inner * config_.width
                                                  : sublayer.elements - sublayer.inner * config_.width);
      const double rows = elements / static_cast<double>(w);
      const double tried = settings * std::min(static_cast<double>(plan_.grid.rows), rows);
      steps += 2.0 * static_cast<double>(w * w) * products * (rows + tried);
    }
  }
  const auto blocks = static_cast<double>(config_.blocks);
  // choosing a mask reads and writes its scores a dozen times
  spend(stage, blocks * operations, blocks * fp32,
        blocks * 12.0 * kFp32 * static_cast<double>(block_elements()));
  return stage;
}

StageEstimator::Training StageEstimator::region_training() const {
  const int64_t batch = plan_.region.batch;
  return {.tokens = static_cast<double>(plan_.calibration.samples * length_ * region_epochs_),
          .steps = static_cast<double>(region_epochs_ * ((plan_.calibration.samples + batch - 1) / batch))};
}

StageBudget StageEstimator::matrices() const {
  StageBudget stage = named("matrix");
  const bool two = plan_.region.propagation == Propagation::kSparseDense;
  const double streams = two ? 2 : 1;
  const int64_t inner = sublayers_[1].inner;
  const int64_t largest = std::max(sublayers_[0].largest, sublayers_[1].largest);
  add_residual_streams(stage, streams);
  add_streams(stage, 2 * streams, inner, compute_.dtype);  // what the walk keeps, and the matrix's inputs
  add_streams(stage, 1, config_.width, compute_.dtype);    // its targets
  stage.weights = block_elements() * (kFp32 + 2 * compute_bytes_ + 1);
  stage.optimiser = largest * (compute_bytes_ + 4 * kFp32);
  const int64_t tokens = plan_.region.batch * length_;
  const int64_t measured = reconstruct::windows_at_a_time(length_) * length_;
  stage.workspace =
      std::max({widest_pass(kBatch * length_), tokens * inner * (3 * kFp32) + largest * 2 * compute_bytes_,
                measured * std::max(inner, config_.width) * 4 * kFp32});
  const auto all = static_cast<double>(windows_ * length_);
  const auto [trained, steps] = region_training();
  const auto elements = static_cast<double>(block_elements());
  const auto blocks = static_cast<double>(config_.blocks);
  spend(stage, blocks * (all * (streams + 1) * forward_block(length_) + trained * 6 * elements), 0,
        blocks * steps * elements * 12 * kFp32);
  return stage;
}

double StageEstimator::descent(int64_t sublayers) const {
  double operations = 0;
  for (int64_t i = 0; i < 2 * config_.blocks; ++i) {
    const SublayerShape& sublayer = sublayers_.at(static_cast<size_t>(i % 2));
    const bool mixture = i % 2 == 1 && config_.has_experts(i / 2);
    const bool spared = i % sublayers == 0 && config_.rms_norms() && compute_.device.is_cpu() && !mixture;
    const int64_t readers = sublayer.elements - sublayer.inner * config_.width;
    operations += 3 * forward(sublayer, length_) - (spared ? 2.0 * static_cast<double>(readers) : 0);
  }
  return operations;
}

StageBudget StageEstimator::regions(const Stage& stage_kind) const {
  StageBudget stage = named(to_string(stage_kind));
  const bool sublayer = stage_kind.kind == StageKind::kSublayer;
  const int64_t blocks = sublayer ? 1 : std::min(stage_kind.blocks, config_.blocks);
  const int64_t trained =
      sublayer ? std::max(sublayers_[0].elements, sublayers_[1].elements) : blocks * block_elements();
  add_residual_streams(stage, 2);
  stage.weights = blocks * block_elements() * (kFp32 + compute_bytes_ + 1);
  // leaves and their gradients; of kept weights two moments and what bf16 leaves out; the state that is kept
  const double density = 1 - sparsity::zero_fraction(plan_.pattern);
  stage.optimiser = trained * (compute_bytes_ + kFp32) +
                    static_cast<int64_t>(static_cast<double>(trained) * density * (2 * kFp32 + 2));
  const int64_t tokens = plan_.region.batch * length_;
  int64_t graph = 0;
  for (const SublayerShape& one : sublayers_) {
    const int64_t backward = 2 * one.heads * kFp32;  // of queries, in two parts
    const int64_t saved = tokens * (config_.width * (3 * kFp32 + 2 * compute_bytes_) + backward +
                                    (2 * one.outputs + 2 * one.inner) * compute_bytes_);
    graph = sublayer ? std::max(graph, saved) : graph + blocks * saved;
  }
  const int64_t training = graph + tokens * (sublayers_[1].outputs + 6 * config_.width) * kFp32;
  const int64_t measured = reconstruct::windows_at_a_time(length_) * length_;
  const int64_t measuring = measured * config_.width * 4 * kFp32;
  stage.workspace = std::max(training, measuring + widest_pass(measured));
  const auto all = static_cast<double>(windows_ * length_);
  const auto [seen, steps] = region_training();
  const auto every = static_cast<double>(config_.blocks);
  spend(stage, every * 2 * all * forward_block(length_) + seen * descent(sublayer ? 1 : 2 * blocks), 0,
        every * steps * static_cast<double>(block_elements()) * 12 * kFp32);
  return stage;
}

StageBudget StageEstimator::whole(const Stage& kind) const {
  StageBudget stage = named(to_string(kind));
  const reconstruct::Trains trains = trained_by(kind);
  const reconstruct::DistilRecipe recipe{
      .batch = plan_.model_stage.batch,
      .trainable = {.trains = trains, .lora = plan_.model_stage.lora, .seed = plan_.seed}};
  const int64_t planned =
      reconstruct::planned_bytes(model_, sparsity::zero_fraction(plan_.pattern), recipe, windows_, length_);
  const int64_t matrices = scratch_ / (kFp32 + 1);
  const auto kept =
      static_cast<int64_t>(static_cast<double>(matrices) * (1 - sparsity::zero_fraction(plan_.pattern)));
  // planned_bytes has the total, the process included; what it is for follows from the recipe
  stage.weights = matrices * compute_bytes_ + config_.vocabulary * config_.width * compute_bytes_;
  stage.activations = windows_ * length_ * config_.width * 2 +
                      config_.blocks * plan_.model_stage.batch * length_ * config_.width * kFp32;
  if (trains == reconstruct::Trains::kRetained) stage.optimiser = kept * (2 * kFp32 + 2) + matrices / 8;
  // the best state, the dense model's hidden states, and two states to go on from
  stage.disk +=
      matrices * kFp32 + windows_ * length_ * config_.width * 2 + 2 * (stage.optimiser + matrices * 2);
  stage.workspace = std::max<int64_t>(0, planned - stage.bytes());
  if (!compute_.device.is_cpu()) {
    // ATen's optimiser has fp32 masters and masks of bytes
    if (trains == reconstruct::Trains::kRetained) stage.optimiser += kept * 2 + matrices - matrices / 8;
    stage.workspace += softmax(kTrainRows);
  }
  const auto epochs = static_cast<double>(model_epochs_);
  const double tokens = epochs * static_cast<double>(plan_.calibration.samples * length_);
  const double steps =
      epochs * static_cast<double>(plan_.calibration.samples) / static_cast<double>(plan_.model_stage.batch);
  spend(stage,
        tokens * (4 * static_cast<double>(config_.blocks) * forward_block(length_) +
                  6.0 * static_cast<double>(config_.vocabulary * config_.width)),
        0, steps * static_cast<double>(matrices) * 6 * kFp32);
  return stage;
}

}  // namespace freelunch::pipeline
