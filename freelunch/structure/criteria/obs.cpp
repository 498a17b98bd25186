#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "freelunch/base/interrupt.h"
#include "freelunch/structure/refit.h"
#include "freelunch/structure/unit_criterion.h"

namespace freelunch::structure {
namespace {

/// Share of the mean diagonal of H that is added before it is inverted.
constexpr double kDamping = 0.01;

/// A^-1, A = H + lambda I, about the mean if the consumer's bias takes that up.
at::Tensor damped_inverse(const UnitChoice& choice) {
  const at::Tensor A = choice.intercept ? centred(choice.H, choice.sums, choice.tokens) : choice.H.clone();
  A.diagonal().add_(kDamping * std::max(A.diagonal().mean().item<double>(), 1e-30));
  return at::cholesky_inverse(at::linalg_cholesky(A));
}

/// Which units are still there, and how many of each group may go.
class Remaining {
 public:
  explicit Remaining(const UnitChoice& choice)
      : gone_(static_cast<size_t>(choice.units()), false),
        in_group_(choice.units() / choice.groups),
        quota_(static_cast<size_t>(choice.groups), (choice.units() - choice.kept) / choice.groups) {}

  /// The unit of least cost among those that may go. cost (units) of any device.
  int64_t cheapest(const at::Tensor& cost) const {
    const at::Tensor on_cpu = cost.to(at::kCPU, at::kDouble).contiguous();
    const double* values = on_cpu.const_data_ptr<double>();
    int64_t best = -1;
    double least = std::numeric_limits<double>::infinity();
    for (int64_t u = 0; u < std::ssize(gone_); ++u) {
      if (gone_[static_cast<size_t>(u)] || quota_[static_cast<size_t>(u / in_group_)] == 0) continue;
      if (best >= 0 && !(values[u] < least)) continue;
      best = u;
      least = values[u];
    }
    return best;
  }
  void remove(int64_t unit) {
    gone_[static_cast<size_t>(unit)] = true;
    --quota_[static_cast<size_t>(unit / in_group_)];
  }
  at::Tensor units(at::Device device) const {
    std::vector<int64_t> stay;
    for (int64_t u = 0; u < std::ssize(gone_); ++u) {
      if (!gone_[static_cast<size_t>(u)]) stay.push_back(u);
    }
    return at::tensor(stay, at::kLong).to(device);
  }

 private:
  std::vector<bool> gone_;
  int64_t in_group_;
  std::vector<int64_t> quota_;
};

/// Units of one column. Removing column g subtracts a matrix of rank one from A^-1 and from W:
///   f = [A^-1]_:g / sqrt([A^-1]_gg),    s = W_:g / sqrt([A^-1]_gg),
///   A^-1 <- A^-1 - f f^T,               W <- W - s f^T.
/// Only the vectors f and s are stored. A removal then computes one column of A^-1, one column of W, and the
/// products of all columns of W with s: (in + out) x (removed so far) + in x out operations.
at::Tensor remove_columns(const UnitChoice& choice) {
  Remaining remaining(choice);
  const int64_t removals = choice.units() - choice.kept;
  const at::Tensor inverse = damped_inverse(choice);
  const at::Tensor W = choice.W.to(inverse.scalar_type());
  const at::Tensor W_t = W.t().contiguous();  // (in, out)
  at::Tensor F = at::empty({removals, W.size(1)}, inverse.options());
  at::Tensor S = at::empty({removals, W.size(0)}, inverse.options());
  at::Tensor diagonal = inverse.diagonal().clone();
  at::Tensor norms = W.square().sum(0);  // of W's columns
  for (int64_t k = 0; k < removals; ++k) {
    throw_if_interrupted();
    const int64_t g = remaining.cheapest(norms / diagonal);
    remaining.remove(g);
    const double root = 1 / std::sqrt(std::max(diagonal[g].item<double>(), 1e-300));
    const at::Tensor F_done = F.narrow(0, 0, k);
    const at::Tensor S_done = S.narrow(0, 0, k);
    const at::Tensor at_g = F_done.select(1, g);
    const at::Tensor s = (W_t[g] - at::mv(S_done.t(), at_g)) * root;
    const at::Tensor both = at::mm(at::stack({at_g, at::mv(S_done, s)}), F_done);  // (2, in)
    const at::Tensor f = (inverse[g] - both[0]) * root;
    const at::Tensor products = at::mv(W_t, s) - both[1];
    norms += f * (f * s.square().sum() - 2 * products);
    diagonal -= f.square();
    F[k].copy_(f);
    S[k].copy_(s);
  }
  return remaining.units(W.device());
}

/// Units of several columns, such as heads. There are few of them, so A^-1 and W are updated whole:
///   W    <- W - W_g ([A^-1]_gg)^-1 [A^-1]_g:
///   A^-1 <- A^-1 - [A^-1]_:g ([A^-1]_gg)^-1 [A^-1]_g:
at::Tensor remove_blocks(const UnitChoice& choice) {
  Remaining remaining(choice);
  const int64_t units = choice.units();
  const int64_t size = choice.size;
  at::Tensor inverse = damped_inverse(choice);
  at::Tensor W = choice.W.to(inverse.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  for (int64_t left = units - choice.kept; left > 0; --left) {
    throw_if_interrupted();
    at::Tensor blocks =
        inverse.view({units, size, units, size}).diagonal(0, 0, 2).permute({2, 0, 1}).contiguous();
    // the block of a removed unit is zero, and no factorisation may fail on it
    blocks.diagonal(0, 1, 2).add_(blocks.diagonal(0, 1, 2).eq(0).to(blocks.scalar_type()));
    const at::Tensor L = at::linalg_cholesky(blocks);
    const at::Tensor columns = W.view({W.size(0), units, size}).permute({1, 2, 0});  // (units, size, out)
    const at::Tensor whitened = at::linalg_solve_triangular(L, columns, /*upper=*/false);
    const int64_t g = remaining.cheapest(whitened.square().sum({1, 2}));
    remaining.remove(g);
    const at::Tensor rows = inverse.narrow(0, g * size, size);  // (size, in)
    const at::Tensor F = at::linalg_solve_triangular(L[g], rows, /*upper=*/false);
    W.sub_(at::mm(whitened[g].t(), F));
    inverse = inverse - at::mm(F.t(), F);
    // exactly zero instead of what rounding leaves
    inverse.narrow(0, g * size, size).zero_();
    inverse.narrow(1, g * size, size).zero_();
    W.narrow(1, g * size, size).zero_();
  }
  return remaining.units(W.device());
}

}  // namespace

/// Removes units one by one, each time the one whose removal costs least after the remaining columns are
/// refitted: J_g = tr(W_g ([A^-1]_gg)^-1 W_g^T), A = H + lambda I, with exact updates in between. Optimal
/// brain surgeon for groups of columns, as in ZipLM (Kurtic et al. 2023, arXiv 2302.04089) and OSSCAR (Meng
/// et al. 2024, arXiv 2403.12983).
const UnitCriterion& obs() {
  static const UnitCriterion criterion{
      .name = "obs", .needs = UnitStats::kMoments, .choose = [](const UnitChoice& choice) {
        return choice.size == 1 ? remove_columns(choice) : remove_blocks(choice);
      }};
  return criterion;
}

}  // namespace freelunch::structure
