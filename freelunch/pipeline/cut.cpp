#include "freelunch/pipeline/cut.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/base/stopwatch.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/model_io/export_smaller.h"
#include "freelunch/pipeline/consumer_statistics.h"
#include "freelunch/pipeline/expert_choice.h"
#include "freelunch/pipeline/seam.h"
#include "freelunch/pipeline/stages/next_reader.h"
#include "freelunch/pipeline/sublayer_place.h"
#include "freelunch/storage/transfer.h"
#include "freelunch/structure/refit.h"
#include "freelunch/structure/unit_criterion.h"
#include "freelunch/structure/units.h"

namespace freelunch::pipeline {
namespace {

using model::Block;
using model::Config;
using model::Sublayer;
using model::WeightRole;
using structure::Refitted;
using structure::UnitChoice;
using structure::UnitStats;

constexpr const char* kPrefix = "smaller: ";

/// The name in the scratch file of a tensor of the smaller model.
std::string cut_name(const model::ModelTensor& tensor) { return kPrefix + tensor.name; }

class Cutter {
 public:
  Cutter(RunContext& run, const Config& smaller, const std::vector<int64_t>& blocks, bool refits)
      : run_(run),
        blocks_(blocks),
        before_(run.model().config()),
        after_(smaller),
        refits_(refits),
        criterion_(structure::unit_criterion_named(run.plan.structure.criterion)),
        targets_(refits && blends_dense_stream(run.plan)),
        observes_(refits || reads_inputs(run.plan.structure)),
        forward_(before_, run.compute, observes_ ? run.windows.size(1) : 2) {
    if (observes_) streams_.emplace(run.streams(forward_, run.dense(), /*with_dense=*/targets_));
  }

  void run() {
    run_.sinks.progress.begin("cut", std::ssize(blocks_), "blocks");
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const int64_t b = blocks_[i];
      next_ = i + 1 < blocks_.size() ? blocks_[i + 1] : before_.blocks;
      dense_ = run_.dense().block(b, run_.compute.device, at::kFloat);
      if (targets_) dense_cast_ = cast(dense_);
      ours_ = dense_;
      for (const Sublayer sublayer : model::kSublayers) {
        const SublayerPlace place{.block = b, .sublayer = sublayer};
        try {
          cut_sublayer(place);
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::kNumerical) throw;
          fail(ErrorKind::kNumerical, "{}: {}", place.name(), error.what());
        }
      }
      pass_removed();
      release_freed_memory();
      run_.sinks.progress.advance(static_cast<int64_t>(i) + 1, "");
    }
    run_.sinks.progress.end();
  }

 private:
  bool is_cut(const SublayerPlace& place) const {
    if (place.sublayer == Sublayer::kAttention)
      return before_.heads != after_.heads || before_.kv_heads != after_.kv_heads;
    if (!before_.has_experts(place.block)) return before_.intermediate != after_.intermediate;
    return before_.experts.count != after_.experts.count ||
           before_.experts.intermediate != after_.experts.intermediate;
  }

  /// Whether the next blocks are removed, and down can be refitted to make up for them.
  bool is_seam(const SublayerPlace& place) const {
    return place.sublayer == Sublayer::kMlp && next_ != place.block + 1 && refits_ &&
           can_make_up(before_, place.block);
  }

  /// The output of a sublayer is added to the stream without a norm in between.
  bool adds_as_is() const {
    return !before_.parallel && (before_.norm_place == model::NormPlace::kBefore ||
                                 before_.norm_place == model::NormPlace::kAfterSum);
  }

  /// The dense stream passes the blocks that ours lacks.
  void pass_removed() {
    if (!targets_) return;
    for (int64_t b = ours_.index + 1; b < next_; ++b) {
      const Block removed = run_.dense().block(b, run_.compute.device, run_.compute.dtype);
      streams_->pass_dense(removed);
    }
  }

  void cut_sublayer(const SublayerPlace& place) {
    if (is_cut(place) || is_seam(place)) {
      if (run_.journal.done(place.name())) {
        load(place);
      } else {
        const Stopwatch watch;
        outcome_ = {};
        regions_ = 0;
        if (is_cut(place) && place.sublayer == Sublayer::kAttention)
          cut_heads(place);
        else if (is_cut(place))
          cut_mlp(place);
        if (is_seam(place)) refit_seam(place);
        save(place, watch.seconds());
      }
    }
    if (streams_) streams_->pass(cast(ours_), dense_cast_, place.sublayer);
  }

  Block cast(const Block& block) const { return model::with_matrices_in(block, run_.compute.dtype); }

  void cut_mlp(const SublayerPlace& place) {
    if (!before_.has_experts(place.block)) return cut_channels(place, -1, after_.intermediate);
    if (before_.experts.count != after_.experts.count)
      structure::keep_experts(ours_, choose_experts(run_, forward_, cast(ours_), place, after_.experts.count,
                                                    streams_ ? &*streams_ : nullptr));
    if (before_.experts.intermediate == after_.experts.intermediate) return;
    for (int32_t e = 0; e < after_.experts.count; ++e) cut_channels(place, e, after_.experts.intermediate);
  }

  void cut_channels(const SublayerPlace& place, int32_t expert, int64_t kept) {
    const WeightRole down{WeightRole::kDown, expert};
    ConsumerStatistics statistics = observe(place, down);
    UnitChoice choice = choice_of(down, statistics, place);
    choice.kept = kept;
    const at::Tensor channels = structure::choose_units(criterion_, choice);
    choice.H.reset();  // the refit needs the memory
    const Refitted fitted = fit(place, down, channels, statistics);
    structure::keep_channels(ours_, expert, channels);
    replace(down, fitted);
  }

  /// Fits down so that the stream after it is what the removed blocks would make of our stream.
  void refit_seam(const SublayerPlace& place) {
    const at::Tensor W = ours_[WeightRole::kDown];
    std::vector<Block> removed;
    for (int64_t b = place.block + 1; b < next_; ++b)
      removed.push_back(run_.dense().block(b, run_.compute.device, run_.compute.dtype));
    const ConsumerStatistics statistics = seam_statistics(*streams_, forward_, W, cast(ours_), removed).down;
    const bool intercept = ours_[WeightRole::kDownBias].defined();
    const at::Tensor all = at::arange(W.size(1), W.options().dtype(at::kLong));
    const structure::ConsumerMoments seen = statistics.moments(false, 1);
    const structure::ConsumerMoments judged = statistics.moments(statistics.tokens(true) > 0, 1);
    const Refitted fitted = structure::refit(W, all, seen, judged, output_weights(place, W),
                                             {.lambdas = run_.plan.grid.lambdas, .intercept = intercept});
    note(place, W.size(1), all.size(0), fitted, 1);
    replace(WeightRole::kDown, fitted);
  }

  void cut_heads(const SublayerPlace& place) {
    const int64_t dim = before_.head_dim;
    const int64_t readers = before_.heads / before_.kv_heads;
    ConsumerStatistics statistics = observe(place, WeightRole::kOutput);
    UnitChoice choice = choice_of(WeightRole::kOutput, statistics, place);
    at::Tensor kv = at::arange(before_.kv_heads, ours_[WeightRole::kOutput].options().dtype(at::kLong));
    if (before_.kv_heads != after_.kv_heads) {
      choice.size = readers * dim;
      choice.kept = after_.kv_heads;
      kv = structure::choose_units(criterion_, choice);
    }
    at::Tensor queries = structure::columns_of(kv, readers);
    if (after_.heads != after_.kv_heads * readers) {  // of what the KV heads left, the same number of each
      const at::Tensor columns = structure::columns_of(queries, dim);
      UnitChoice inside = choice;
      inside.W = choice.W.index_select(1, columns);
      if (choice.H.defined()) {
        inside.H = choice.H.index_select(0, columns).index_select(1, columns);
        inside.sums = choice.sums.index_select(0, columns);
      }
      inside.size = dim;
      inside.groups = after_.kv_heads;
      inside.kept = after_.heads;
      queries = queries.index_select(0, structure::choose_units(criterion_, inside));
    }
    choice.H.reset();  // the refit needs the memory
    const Refitted fitted = fit(place, WeightRole::kOutput, structure::columns_of(queries, dim), statistics);
    structure::keep_heads(ours_, queries, kv, dim);
    replace(WeightRole::kOutput, fitted);
  }

  bool has_bias(WeightRole consumer) const {
    return consumer.expert < 0 && ours_[model::bias_of(consumer)].defined();
  }

  UnitChoice choice_of(WeightRole consumer, const ConsumerStatistics& statistics,
                       const SublayerPlace& place) {
    const std::string name = fmt::format("units {}.{}", place.name(), model::short_name(consumer));
    random_.emplace(run_.plan.seed, name);
    UnitChoice choice{.W = ours_[consumer], .intercept = has_bias(consumer), .random = &*random_};
    if (observes_ && statistics.tokens(false) > 0) {
      choice.H = statistics.gram(false);
      choice.sums = statistics.sums(false);
      choice.tokens = statistics.tokens(false);
    } else if (observes_) {  // an expert that no token reached: every input counts the same
      choice.H = at::eye(choice.W.size(1), choice.W.options().dtype(at::kDouble));
      choice.sums = at::zeros({choice.W.size(1)}, choice.H.options());
      choice.tokens = 1;
    }
    return choice;
  }

  /// What the consumer reads in our stream, and, if the refit aims at the dense stream, what it should give:
  /// the dense sublayer's output there, and what our stream lacks before the sublayer, where the sublayer's
  /// output is added to it as it is.
  ConsumerStatistics observe(const SublayerPlace& place, WeightRole consumer) {
    const at::Tensor W = ours_[consumer];
    ConsumerStatistics statistics(W, targets_ && consumer.expert < 0);
    if (!observes_) return statistics;
    const Block ours = cast(ours_);
    const auto groups = model::matrix_groups(ours, place.sublayer);
    size_t group = 0;
    while (std::find(groups[group].begin(), groups[group].end(), consumer) == groups[group].end()) ++group;
    streams_->for_each_input(ours, consumer.expert < 0 ? dense_cast_ : ours, place.sublayer, group,
                             [&](const at::Tensor& X, const at::Tensor& Y, int64_t first, bool held_out) {
                               if (!statistics.has_targets()) return statistics.add(X, {}, held_out);
                               at::Tensor target = at::linear(Y.to(at::kFloat), dense_[consumer]);
                               if (adds_as_is()) target += streams_->drift(first, X.size(0));
                               statistics.add(X, target, held_out);
                             });
    streams_->forget_inputs();
    if (consumer.expert >= 0 && statistics.tokens(false) < W.size(1))
      run_.sinks.log.log(LogLevel::kWarning,
                         fmt::format("blocks.{}.mlp.{} saw {} tokens, fewer than its {} inputs{}",
                                     place.block, model::short_name(consumer), statistics.tokens(false),
                                     W.size(1), statistics.tokens(false) == 0 ? ": not refitted" : ""));
    return statistics;
  }

  Refitted fit(const SublayerPlace& place, WeightRole consumer, const at::Tensor& columns,
               const ConsumerStatistics& statistics) {
    const at::Tensor& W = ours_[consumer];
    if (!observes_ || statistics.tokens(false) == 0)
      return {.W = W.index_select(1, columns).contiguous(), .bias = {}};
    const at::Tensor weights =
        consumer.expert < 0 ? output_weights(place, W) : at::ones({W.size(0)}, W.options());
    const structure::ConsumerMoments judged = statistics.moments(statistics.tokens(true) > 0, 1);
    const auto fit_with = [&](double blend) {
      const structure::ConsumerMoments seen = statistics.moments(false, blend);
      if (!refits_) return structure::keep_columns(W, columns, seen, judged, weights, has_bias(consumer));
      return structure::refit(W, columns, seen, judged, weights,
                              {.lambdas = run_.plan.grid.lambdas, .intercept = has_bias(consumer)});
    };
    Refitted best;
    double best_blend = 0;
    bool first = true;
    for (const double blend : statistics.has_targets() ? run_.plan.grid.blends : std::vector<double>{0}) {
      Refitted fitted = fit_with(blend);
      if (!first && !(fitted.held_out_after < best.held_out_after)) continue;
      best = std::move(fitted);
      best_blend = blend;
      first = false;
    }
    note(place, W.size(1), columns.size(0), best, best_blend);
    return best;
  }

  /// How much the sublayer that reads the stream next in the smaller model reads of each output: (out) fp32.
  at::Tensor output_weights(SublayerPlace place, const at::Tensor& W) const {
    if (place.sublayer == Sublayer::kMlp || before_.parallel) place.block = next_ - 1;
    const at::Tensor weights = next_reader(run_, place, reconstruct::Loss::kReaderMse).weights;
    // between the sublayers of a parallel block the stream holds the block's input too
    return weights.narrow(0, weights.size(0) - W.size(0), W.size(0));
  }

  void note(const SublayerPlace& place, int64_t inputs, int64_t kept, const Refitted& fitted, double blend) {
    run_.sinks.log.log(
        LogLevel::kDebug,
        fmt::format("{}: {} of {} inputs, lambda {} beta {} held-out error {:.4f} -> {:.4f}", place.name(),
                    kept, inputs, fitted.lambda, blend, fitted.held_out_before, fitted.held_out_after));
    outcome_.before += fitted.before;
    outcome_.after += fitted.after;
    outcome_.held_out_before += fitted.held_out_before;
    outcome_.held_out_after += fitted.held_out_after;
    ++regions_;
  }

  void replace(WeightRole consumer, const Refitted& fitted) {
    ours_.set(consumer, fitted.W);
    if (!fitted.bias.defined()) return;
    const WeightRole bias = model::bias_of(consumer);
    ours_.set(bias, ours_[bias] + fitted.bias);
  }

  void save(const SublayerPlace& place, double seconds) {
    for (const auto& [role, tensor] : ours_.tensors()) {
      if (model::sublayer_of(role) == place.sublayer)
        run_.scratch.put(cut_name(*run_.model().find(place.block, role)), tensor);
    }
    if (regions_ > 0) {
      for (double* value :
           {&outcome_.before, &outcome_.after, &outcome_.held_out_before, &outcome_.held_out_after})
        *value /= static_cast<double>(regions_);
      run_.report.regions.push_back(
          {.stage = "cut", .region = place.name(), .outcome = outcome_, .seconds = seconds});
    }
    run_.journal.commit(place.name());
  }

  /// What an earlier process saved.
  void load(const SublayerPlace& place) {
    Block block;
    block.index = place.block;
    for (const auto& [role, tensor] : ours_.tensors()) {
      if (model::sublayer_of(role) != place.sublayer) {
        block.set(role, tensor);
        continue;
      }
      const std::string name = cut_name(*run_.model().find(place.block, role));
      if (run_.scratch.has(name))
        block.set(role, model::to_device(run_.scratch.get(name), run_.compute.device));
    }
    ours_ = std::move(block);
  }

  RunContext& run_;
  const std::vector<int64_t>& blocks_;  ///< that stay
  int64_t next_ = 0;                    ///< the block that follows the one at hand in the smaller model
  const Config& before_;
  const Config& after_;
  bool refits_;
  const structure::UnitCriterion& criterion_;
  bool targets_;  ///< the refit aims at the dense stream, at least in part
  bool observes_;
  model::Forward forward_;
  std::optional<StreamPair> streams_;
  Block dense_;       ///< the dense block, fp32
  Block dense_cast_;  ///< the same in the compute dtype; only with a dense stream
  Block ours_;        ///< the block as it is cut, fp32
  std::optional<RandomStream> random_;
  reconstruct::RegionOutcome outcome_;  ///< added up over the consumers of the sublayer at hand
  int64_t regions_ = 0;
};

}  // namespace

void cut_model(RunContext& run, const Config& smaller, const std::vector<int64_t>& blocks, bool refits,
               const std::filesystem::path& folder) {
  Cutter(run, smaller, blocks, refits).run();
  const model::LanguageModel& dense = run.model();
  export_smaller(
      dense, smaller, blocks,
      [&](const model::ModelTensor& tensor) {
        const std::string name = cut_name(tensor);
        return run.scratch.has(name) ? run.scratch.get(name) : dense.read(tensor);
      },
      folder, run.sinks);
}

void forget_cut(RunContext& run) {
  for (const std::string& name : run.scratch.names(kPrefix)) run.scratch.erase(name);
}

}  // namespace freelunch::pipeline
