#include "freelunch/closed_form/row_solver.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "freelunch/gemm/gemm_bf16.h"
#include "freelunch/kernels/conjugate_gradients.h"
#include "freelunch/kernels/parallel.h"

namespace freelunch::reconstruct {
namespace {

using kernels::Bf16;

constexpr int64_t kRows = 48;  // with 1,536 inputs the workspace of 48 rows is about 1.5 MB

/// Steps from one residual that is recomputed from the error to the next. In between, residuals are updated
/// with products by H rounded to bf16, a third of the work (docs/decisions/0017).
constexpr int64_t kRecompute = 10;

struct Rows {
  int64_t count;
  const float *dense, *extra, *inverse_diagonal;
  const bool* retained;
  float* w;
};

/// Conjugate gradients on a block of rows of W.
class BlockSolver {
 public:
  BlockSolver(const SplitGram& H, const RowProblem& problem, const Rows& rows)
      : H_(H),
        problem_(problem),
        rows_(rows),
        residual_(static_cast<size_t>(rows.count * H.size())),
        image_(residual_.size()),
        direction_(static_cast<size_t>(rows.count * H.stride())),
        high_(direction_.size()),
        low_(direction_.size()),
        rz_(static_cast<size_t>(rows.count)),
        goal_(rz_.size()) {}

  void solve() {
    for (int64_t r = 0; r < rows_.count; ++r) kernels::start_row(H_.size(), row(r), dense(r));
    recompute_residuals();
    for (size_t r = 0; r < rz_.size(); ++r) goal_[r] = rz_[r] * problem_.tolerance * problem_.tolerance;
    std::vector<double> momentum(rz_.size(), 0.0);  // the share of the last direction in the next one
    for (int64_t i = 1; i <= problem_.iterations; ++i) {
      for (int64_t r = 0; r < rows_.count; ++r)
        kernels::next_direction_row(H_.size(), row(r), momentum[static_cast<size_t>(r)]);
      H_.multiply_rounded(rows_.count, direction_.data(), image_.data());
      for (int64_t r = 0; r < rows_.count; ++r) {
        const auto at = static_cast<size_t>(r);
        const double before = rz_[at];
        rz_[at] = kernels::step_row(H_.size(), row(r), image(r));
        momentum[at] = rz_[at] / std::max(before, 1e-30);
      }
      if (i == problem_.iterations) return;
      if (i % kRecompute != 0 && !done()) continue;
      recompute_residuals();
      if (done()) return;
    }
  }

 private:
  const float* dense(int64_t r) const { return rows_.dense + r * H_.size(); }
  float* image(int64_t r) { return image_.data() + r * H_.size(); }
  kernels::GradientRow row(int64_t r) {
    return {.retained = rows_.retained + r * H_.size(),
            .inverse_diagonal = rows_.inverse_diagonal,
            .shift = static_cast<float>(problem_.shift),
            .w = rows_.w + r * H_.size(),
            .residual = residual_.data() + r * H_.size(),
            .direction = direction_.data() + r * H_.stride()};
  }
  bool done() const {
    for (size_t r = 0; r < rz_.size(); ++r)
      if (rz_[r] > goal_[r]) return false;
    return true;
  }
  void recompute_residuals() {
    for (int64_t r = 0; r < rows_.count; ++r)
      kernels::error_row(H_.size(), row(r), dense(r), high_.data() + r * H_.stride(),
                         low_.data() + r * H_.stride());
    H_.multiply(rows_.count, high_.data(), low_.data(), image_.data());
    for (int64_t r = 0; r < rows_.count; ++r) {
      const float* extra = rows_.extra == nullptr ? nullptr : rows_.extra + r * H_.size();
      rz_[static_cast<size_t>(r)] = kernels::residual_row(H_.size(), row(r), dense(r), image(r), extra);
    }
  }

  const SplitGram& H_;
  const RowProblem& problem_;
  const Rows& rows_;
  std::vector<float> residual_, image_;
  std::vector<Bf16> direction_, high_, low_;  // high_ + low_ is the error
  std::vector<double> rz_, goal_;
};

}  // namespace

int64_t products_of(int64_t iterations) {
  const int64_t recomputed = 1 + (iterations - 1) / kRecompute;  // none after the last step
  return iterations + 3 * recomputed;
}

at::Tensor solve_rows(const SplitGram& H, const RowProblem& problem) {
  const int64_t n = H.size();
  const at::Tensor dense = problem.W_dense.contiguous();
  const at::Tensor retained = problem.retained.contiguous();
  const at::Tensor extra = problem.extra.defined() ? problem.extra.contiguous() : at::Tensor();
  const at::Tensor inverse = problem.diagonal.reciprocal().contiguous();
  at::Tensor W = at::empty_like(dense);
  const float* from = dense.const_data_ptr<float>();
  const float* more = extra.defined() ? extra.const_data_ptr<float>() : nullptr;
  const float* inverse_diagonal = inverse.const_data_ptr<float>();
  const bool* support = retained.const_data_ptr<bool>();
  float* to = W.mutable_data_ptr<float>();
  kernels::parallel_for((W.size(0) + kRows - 1) / kRows, [&](int64_t block) {
    const int64_t begin = block * kRows;
    const Rows rows{.count = std::min(kRows, W.size(0) - begin),
                    .dense = from + begin * n,
                    .extra = more == nullptr ? nullptr : more + begin * n,
                    .inverse_diagonal = inverse_diagonal,
                    .retained = support + begin * n,
                    .w = to + begin * n};
    BlockSolver(H, problem, rows).solve();
    gemm::end_bf16_gemm();
  });
  return W;
}

}  // namespace freelunch::reconstruct
