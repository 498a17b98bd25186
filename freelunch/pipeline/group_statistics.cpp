#include "freelunch/pipeline/group_statistics.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/criteria/inverse_factor.h"
#include "freelunch/memory/process_memory.h"

namespace freelunch::pipeline {

GroupStatistics::GroupStatistics(int64_t width, at::Device device, Wanted wanted)
    : wanted_(wanted), norms_(width, device) {
  if (!wanted.gram) return;
  for (const bool held_out : {false, true}) {
    Side& side = sides_.at(held_out ? 1 : 0);
    const at::ScalarType dtype = held_out ? statistics::kHeldOutSums : backend::of(device).sum_dtype();
    side.H.emplace(width, device, dtype);
    if (!wanted.cross) continue;
    side.C.emplace(width, device);
    side.D.emplace(width, device, dtype);
  }
}

void GroupStatistics::add(const at::Tensor& X, const at::Tensor& Y, bool held_out) {
  if (X.numel() == 0) return;  // no token of these windows is routed to the expert
  tokens_[held_out ? 1 : 0] += X.numel() / X.size(-1);
  if (!wanted_.gram) {
    if (!held_out) norms_.add(X);
    return;
  }
  Side& side = sides_[held_out ? 1 : 0];
  side.H->add(X);
  if (!wanted_.cross) return;
  side.C->add(X, Y);
  side.D->add(Y);
}

void GroupStatistics::check_finite() const {
  const auto check = [](const at::Tensor& squares, std::string_view model) {
    if (std::isfinite(squares.sum().item<double>())) return;
    fail(ErrorKind::kNumerical,
         "the input of its matrices in the {} model, or the input's square, is not finite; an earlier weight "
         "is too large",
         model);
  };
  if (!wanted_.gram) return check(norms_.norms(), "pruned");
  for (const Side& side : sides_) {
    check(side.H->diagonal(), "pruned");
    if (wanted_.cross) check(side.D->diagonal(), "dense");
  }
}

criteria::CalibrationStats GroupStatistics::stats(criteria::StatsNeeded needs, double& damping) const {
  criteria::CalibrationStats stats;
  if (needs == criteria::StatsNeeded::kNothing) return stats;
  stats.column_norms =
      wanted_.gram ? sides_[0].H->diagonal().clamp_min(0).sqrt().to(at::kFloat) : norms_.norms();
  if (needs == criteria::StatsNeeded::kGram) {
    criteria::InverseFactor factor = criteria::inverse_factor(sides_[0].H->sum());
    stats.inverse_factor = factor.U;
    damping = factor.used;
  }
  return stats;
}

criteria::CalibrationStats GroupStatistics::stats_of_no_tokens(criteria::StatsNeeded needs) const {
  criteria::CalibrationStats stats;
  const at::Tensor ones = at::ones_like(norms_.norms());
  if (needs != criteria::StatsNeeded::kNothing) stats.column_norms = ones;
  if (needs == criteria::StatsNeeded::kGram)
    stats.inverse_factor = criteria::inverse_factor(ones.to(at::kDouble).diag()).U;
  return stats;
}

const reconstruct::Moments& GroupStatistics::moments(bool held_out) {
  const size_t index = held_out ? 1 : 0;
  std::optional<reconstruct::Moments>& moments = moments_.at(index);
  if (moments) return *moments;
  // one set of windows and one matrix at a time: all at once they would be the peak of the stage
  Side side = std::exchange(sides_.at(index), Side{});
  at::Tensor H = side.H->sum(at::kFloat);
  side.H.reset();
  release_freed_memory();  // otherwise the sum just freed stays allocated next to what comes next
  at::Tensor C, D;
  if (wanted_.cross) {
    C = side.C->sum().to(at::kFloat);
    side.C.reset();
    D = side.D->sum(at::kFloat);
  }
  using Form = reconstruct::Moments::Form;
  const bool local = !wanted_.cross && !wanted_.metric;
  // errors against the dense stream's target need no split, and held-out moments are used for errors alone
  const Form form = local ? Form::kSplit : held_out && wanted_.cross ? Form::kFp32 : Form::kBoth;
  moments.emplace(std::move(H), form, std::move(C), std::move(D));
  if (local) release_freed_memory();
  return *moments;
}

}  // namespace freelunch::pipeline
